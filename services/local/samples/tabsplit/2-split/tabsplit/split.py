"""Who pays how much."""


def split(cents, people):
    """The shares of `people` friends, as equal as whole cents can be."""
    if people < 1:
        raise ValueError("a bill is split among one or more people")
    share = round(cents / people)
    return [share] * people
