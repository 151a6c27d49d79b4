"""A pipeline with the retraining pipeline's name and parameters, whose one step takes `seconds` and fails on demand."""

# kfp reads the annotations themselves: no postponed evaluation here.
import contextlib
import warnings
from pathlib import Path

from kfp import Client, compiler, dsl
from kfp_server import TOKEN


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def work(marks: str, run_key: str, until: float, seconds: float, fails: int) -> None:
    import time
    from pathlib import Path

    with Path(marks).open("a") as file:
        file.write(f"{run_key} {until}\n")
    tries = len(Path(marks).read_text().splitlines())
    time.sleep(seconds)
    if tries <= fails:
        raise ValueError(f"not this time ({tries})")


@dsl.pipeline(name="coding-mcqa-retraining")
def retraining(
    run_key: str,
    model_name: str,
    champion: str,
    since: float,
    until: float,
    reason: str,
    traceparent: str,
    drift_event: str,
    marks: str,
    seconds: float = 0.0,
    fails: int = 0,
) -> None:
    done = work(marks=marks, run_key=run_key, until=until, seconds=seconds, fails=fails)
    done.set_caching_options(False)


def upload(url: str, folder: Path) -> None:
    """To the server at `url`, twice: retrain takes the newest version."""
    package = str(folder / "retraining.yaml")
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        compiler.Compiler().compile(retraining, package)
        client = Client(host=url, existing_token=TOKEN)
        client.upload_pipeline(package, pipeline_name="coding-mcqa-retraining")
