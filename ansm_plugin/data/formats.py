"""Which files are images that we read, and what is said of those that we do not."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path

from PIL import features

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".mpo", ".png", ".apng", ".tif", ".tiff",
    ".bmp", ".dib", ".webp", ".avif", ".gif", ".ppm", ".pgm", ".pbm", ".pnm",
}  # fmt: skip
# Formats of these suffixes and of what is often mistaken for one; others have readers that start
# programs (EPS) or that hardly anybody tries.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "DIB", "WEBP", "GIF", "PPM", "AVIF")
HEIF_SUFFIXES = {".heic", ".heif", ".hif", ".heics", ".heifs"}
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
# TIFFs inside, most of them: Pillow would read the small preview in place of the photograph.
_RAW = {
    ".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".srf", ".sr2", ".raf", ".orf", ".rw2",
    ".raw", ".pef", ".srw", ".x3f", ".3fr", ".iiq", ".kdc", ".dcr", ".mrw", ".erf", ".mef", ".gpr",
}  # fmt: skip
_OTHER_PICTURES = {
    ".jp2", ".j2k", ".jpf", ".jpx", ".jxl", ".jxr", ".psd", ".psb", ".xcf", ".svg", ".eps", ".ai",
    ".ico", ".icns", ".exr", ".hdr", ".tga", ".pcx", ".sgi", ".fits", ".dcm", ".npy", ".mat",
}  # fmt: skip
_VIDEOS = {
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".3gp", ".mpg", ".mpeg", ".wmv", ".mts",
}  # fmt: skip
_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"}
_REASONS = (
    ({".pdf"}, "a PDF; save the pictures in it as files"),
    (_OTHER_PICTURES, "a format that is not read; save it as PNG"),
    (_VIDEOS, "a video; save the frames that matter as PNG"),
    (_ARCHIVES, "an archive; unpack it"),
)
_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", "PNG", ".png"),
    (b"II*\0", "TIFF", ".tif"),
    (b"MM\0*", "TIFF", ".tif"),
    (b"GIF8", "GIF", ".gif"),
)
RAW_REASON = "a camera's raw file; develop it and save it as TIFF or PNG"
HEIF_REASON = "HEIC, and no reader is installed: pip install 'ansm_plugin[heic]', or save it as PNG"


def reads_heif() -> bool:
    """Return whether HEIC can be read: Pillow has no reader of its own, pillow-heif adds one."""
    return _heif_reader()


@functools.cache
def _heif_reader() -> bool:
    """Let Pillow know the reader of pillow-heif, when the first such file is met."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except (ImportError, OSError, AttributeError):  # not there, or its library is not
        return False
    return True


def is_heif(head: bytes) -> bool:
    """Return whether a file that begins so (16 bytes or more) is HEIC, whatever its name."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head[8:32]


def is_raw(path: Path) -> bool:
    """Return whether a file is a camera's raw file by its name."""
    return path.suffix.lower() in _RAW


def why_not_read(path: Path) -> str:
    """Return why a file is not read, by its name and first bytes; "" for one that is tried.

    Raises:
        OSError: a file whose first bytes decide cannot be opened.
    """
    suffix = path.suffix.lower()
    if suffix == ".avif" and not features.check("avif"):
        return "AVIF, which this build of Pillow does not read; save it as PNG"
    if suffix in SUFFIXES:
        return ""
    if suffix in HEIF_SUFFIXES:  # phones and messengers give this name to JPEGs too
        return "" if reads_heif() or not _is_boxed(path) else HEIF_REASON
    if is_raw(path):
        return RAW_REASON
    for suffixes, reason in _REASONS:
        if suffix in suffixes:
            return reason
    return _by_content(path)


def _is_boxed(path: Path) -> bool:
    """Return whether a file begins as HEIC, its kin of other brands, or a video does."""
    with path.open("rb") as stream:
        return stream.read(8)[4:] == b"ftyp"


def _by_content(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(32)
    if head[:4] == b"\x00\x05\x16\x07":
        return "metadata of macOS"
    for beginning, kind, suffix in _BEGINNINGS:
        if head.startswith(beginning):
            return f"a {kind} by its content, not by its name; give it the suffix {suffix}"
    if is_heif(head):
        return "HEIC by its content, not by its name; give it the suffix .heic"
    return "no image by its name"
