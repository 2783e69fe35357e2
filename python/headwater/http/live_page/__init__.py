"""The live page: what the engine does, seen in a browser. Server-rendered, nothing loaded from elsewhere.

* `markup`: elements whose text is escaped unless it is markup. `style`: the style sheet. `frame`: a page around it all.
* `looks`: what the pages ask of the engine. `live_view`: rates, latencies and slates; `chart`: their curves.
* `explorers`: one item, one user, why, dead letters, experiments. `routes`: their addresses.

A strict Content-Security-Policy holds: one inline style sheet and one inline script, each with the response's nonce;
no style attributes, no event attributes, no other origin.
"""
