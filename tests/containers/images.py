"""What the images weigh and hold: `python -m tests.containers.images` prints it as a table, once they are built."""

import json
import re
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass

from tests.containers.stack import find_engine

# Most megabytes that a service may add to its base image.
BUDGETS_MB = {
    "camera-ingest": 200,
    "image-classifier": 350,
    "aggregation": 180,
    "dashboard": 230,
    "camera-agent": 300,
}
SHOWN = 5  # packages in the table
CODE, PACKAGES = "app/", re.compile(r"venv/lib/python[0-9.]+/site-packages/([^/]+)/")
# The top of what is in the folder of code: shared, services, and each service's own.
FOLDER = re.compile(r"[^/]+|services/[^/]+")


@dataclass(frozen=True)
class Image:
    """An image: megabytes, whole and without its base; folders of code; packages, the largest first; its user."""

    whole_mb: float
    own_mb: float
    code_mb: float
    code: tuple[str, ...]
    packages: tuple[tuple[str, float], ...]
    user: str


def contents(engine: str, service: str) -> Image:
    """Look into a service's image without running it. Raises CalledProcessError."""
    name = f"huella/{service}:latest"
    inspected = json.loads(_said(engine, "image", "inspect", name))[0]
    container = _said(engine, "create", name).strip()
    code: set[str] = set()
    sizes: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    try:
        with (
            subprocess.Popen([engine, "export", container], stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as tar,
        ):
            for member in tar:
                sizes[member.name.split("/")[0]] += member.size
                if found := PACKAGES.match(member.name):
                    packages[found[1]] += member.size
                if member.name.startswith(CODE) and member.isdir():
                    code.add(member.name.removeprefix(CODE))
    finally:
        _said(engine, "rm", container)
    return Image(
        whole_mb=inspected["Size"] / 1e6,
        own_mb=(sizes["venv"] + sizes["app"]) / 1e6,
        code_mb=sizes["app"] / 1e6,
        code=tuple(sorted(folder for folder in code if FOLDER.fullmatch(folder))),
        packages=tuple((package, size / 1e6) for package, size in packages.most_common()),
        user=inspected["Config"]["User"],
    )


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def main() -> None:
    """Print the table, in Markdown."""
    engine = find_engine()
    if engine is None:
        sys.exit("There is no container engine here.")
    print("| image | MB | without its base | our code | code of | largest packages (MB) | user |")
    print("|---|---|---|---|---|---|---|")
    for service in BUDGETS_MB:
        image = contents(engine.command, service)
        code = ", ".join(folder for folder in image.code if folder != "services")
        packages = ", ".join(f"{name} {size:.0f}" for name, size in image.packages[:SHOWN])
        print(
            f"| `{service}` | {image.whole_mb:.0f} | {image.own_mb:.0f} | {image.code_mb:.1f} | {code} | {packages} "
            f"| {image.user} |"
        )


if __name__ == "__main__":
    main()
