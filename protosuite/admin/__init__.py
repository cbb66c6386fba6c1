"""admin: how the suite is, for machines and for people.

``readiness``
    What is looked at before anybody is sent here, in bounded time.
``checks``
    What those looks are: the database, its file, the disk, the schema.
``metrics``
    The figures of all services, as Prometheus asks for them.
``pulse``
    How late the reactor is, and what the process takes.
``series``
    The last hour, in a space that does not grow. Pure.
``sampling``
    What goes into it, each second.
``overseen``
    What there is to tell of, and what is told of it as JSON.
``server``, with ``health`` and ``api``
    The service: ``/healthz``, ``/readyz``, ``/metrics``, ``/status``, and the dashboard at ``/``.

It knows no other service. ``protosuite.suite`` hands it what the services tell of themselves.
"""
