"""Make the user that runs log as, or set its password where it is there already. Repeating it is harmless."""

import os

from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client


def main() -> None:
    """Create the user. MLflow's client waits a while for a server that is starting; then the Job's retries do."""
    client = get_app_client("basic-auth", tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    name, password = os.environ["RUN_USER"], os.environ["RUN_PASSWORD"]
    try:
        client.create_user(name, password)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        client.update_user_password(name, password)
    print(f"MLflow's user {name} is ready.")


if __name__ == "__main__":
    main()
