"""What a twin wrote."""


def contents(folder):
    """Bytes of every file under the folder, by its path in there."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
