"""Airflow answers only requests that name one of its own hosts: a page of another site cannot reach it by a name of its
own (DNS rebinding)."""

import os

from airflow.plugins_manager import AirflowPlugin
from starlette.middleware.trustedhost import TrustedHostMiddleware

HOSTS = os.environ.get("CHURN_ALLOWED_HOSTS") or "127.0.0.1,localhost"


class AllowedHosts(AirflowPlugin):
    """Requests with another `Host` get the answer 400."""

    name = "allowed_hosts"
    fastapi_root_middlewares = [  # noqa: RUF012
        {
            "name": "allowed hosts",
            "middleware": TrustedHostMiddleware,
            "kwargs": {"allowed_hosts": HOSTS.split(","), "www_redirect": False},
        }
    ]
