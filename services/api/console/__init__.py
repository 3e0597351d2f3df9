"""The console: pages for people below /console, drawn on the server from the same reads and verbs as the REST routes.

How a page is added:

1. A module in `routes/` with handlers and `ROUTES = [...]`, which `door.py` lists. A handler reads everything that it
   shows in one `desk.database.read(...)`, and gives it to the page::

       @get("/queue")
       async def show_queue(request: ApiRequest, desk: NamedDependency[Desk], pages: NamedDependency[Pages]) -> Page:
           scope = request.user.project_id  # None: everything; else that project alone

           def read(tx: Tx) -> dict[str, Any]:
               return {"line": showing.line(tx), "live": live(tx)}

           return pages.show(request, "queue.html", **await desk.database.read(read))

   `opt={"admin": True}` closes it to project tokens. `live(tx, protocol_run_id=3)` makes the page follow these events:
   with each of them `console.js` fetches the page again and brings every element with `data-live` (and an id) up to
   date. Give ids to what repeats (rows, forms, details), so that it is known again. What the script must leave as it is
   has `data-keep`; a form into which something was typed stays by itself. A live region with `data-every="2000"` is
   also refreshed every two seconds.

2. A template in `templates/` that extends `base.html` and fills `title` and `main`::

       {% extends "base.html" %}
       {% import "macros.html" as ui with context %}
       {% block title %}Queue{% endblock %}
       {% block main %}<h1>Queue</h1> … {% endblock %}

   Everything is escaped, and control and bidi characters are shown as marks, without anybody's doing. Macros:
   `ui.badge(status, phase, reason)`, `ui.when(time)`, `ui.took(start, end)`, `ui.tokens(usage)`,
   `ui.link(url, text)` (outside links; refuses what is not http), `ui.action(kind, thing, name)` (one action as a
   button, or as a form that opens), `ui.actions(kind, thing)` (all that `thing.allowed_actions` names),
   `ui.progress(row)`, `ui.empty(text)`, `ui.field(...)`. Filters: `markdown`, `duration`, `count`, `words`, `ago`.

3. An entry in `NAV` of `pages.py`, if it belongs into the navigation. An action that is not there yet: one line in the
   table of `actions.py`.

A form (`data-act`) whose answer holds what is shown once answers with a page also to the script, which puts what has
`data-shown` there beside the button: see `routes/project_settings.py`.

A list that grows while an agent works (`data-grows`) names a stream and a page of fragments: see `console.js`.
No inline script or style anywhere: the policy of every page forbids it, and the browser tests fail on it.
"""
