from mcqa import defaults
from predictor.serving.settings import SHIPPED_MODEL, Settings


def test_the_defaults_are_the_servers() -> None:
    """They are repeated because the page's image has no model server."""
    server = Settings()
    assert (server.model_name, server.host) == (defaults.MODEL_NAME, defaults.HOST)
    assert defaults.TINY_MODEL == SHIPPED_MODEL
