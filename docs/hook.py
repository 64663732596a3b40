"""What MkDocs is told beside mkdocs.yml: pages from elsewhere, made pages, and a check.

Prose lies where it is read in the repository too, so it is brought here when the site is built, its
links turned to where their targets are on the site. A built page that asks the outside for anything
fails the build.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent
for place in (ROOT, DOCS):  # the checkout, not another installed version
    sys.path.insert(0, str(place))

import options_pages  # noqa: E402
import threats_picture  # noqa: E402

# Where it lies in the repository -> where on the site; MkDocs warns of one that its navigation
# names and that is not there. Guides, and what lies in recipes/lab, are added by themselves.
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "HOSTS.md": "hosts.md",
    "recipes/README.md": "results/index.md",
    "recipes/PROOF.md": "results/proof.md",
    "recipes/HARDENED.md": "results/hardened.md",
    "recipes/CLUSTER.md": "cluster.md",
    "recipes/guides/README.md": "guides/index.md",
}
_PICTURES = (".png", ".svg", ".jpg", ".webp")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")
_SOURCE = re.compile(r'(src=")(?!https?:)([^"]+)(")')
# What a browser would fetch from elsewhere: no ordinary link, which only a click follows.
_REQUEST = re.compile(
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^\"'\s>]+"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|icon|preload|preconnect|prefetch))"
    r"[^>]*\bhref=[\"']?(?:https?:)?//[^\"'\s>]+"
    r"|(?:url\(|@import )[\"']?(?:https?:)?//[^\"'\s)]+"
)


def pages() -> dict[str, str]:
    """Return where each page lies in the repository, and where on the site."""
    folders = {"recipes/guides": "guides", "recipes/lab": "results/lab"}
    found = {
        f"{source}/{path.name}": f"{target}/{path.name}"
        for source, target in folders.items()
        for path in sorted((ROOT / source).glob("*.md"))
    }
    return {**found, **{page: PAGES[page] for page in PAGES if (ROOT / page).is_file()}}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/, with the pictures that they show."""
    made = {
        "reference/commands.md": options_pages.commands(),
        "reference/recipes.md": options_pages.recipes(),
        "threats.svg": threats_picture.drawn(),
    }
    shown: set[str] = set()
    for source, target in pages().items():
        text = (ROOT / source).read_text(encoding="utf-8")
        made[target] = moved(text, source, target)
        shown |= _pictures(text, source)
    for picture in sorted(shown):  # once, though two pages may show it
        files.append(File(picture, str(ROOT), config.site_dir, use_directory_urls=False))
    for target, text in made.items():
        files.append(File.generated(config, target, content=text))
    return files


def moved(text: str, source: str, target: str) -> str:
    """Return a page whose links fit its place on the site.

    A link to a page of the site leads there, one to a picture to that picture. What is not on the
    site is named, without a link.
    """

    def place(link: str) -> str | None:
        path, mark, anchor = link.partition("#")
        there = _resolved(path, source)
        if there.startswith("docs/"):  # it lies on the site as it does there
            on_site: str | None = there.removeprefix("docs/")
        else:
            on_site = pages().get(there, there if there.endswith(_PICTURES) else None)
        if on_site is None:
            return None
        return posixpath.relpath(on_site, posixpath.dirname(target) or ".") + mark + anchor

    def link(found: re.Match[str]) -> str:
        shows, words, old = found.groups()
        new = place(old)
        return words if new is None else f"{shows}[{words}]({new})"

    def picture(found: re.Match[str]) -> str:
        return found[1] + (place(found[2]) or found[2]) + found[3]

    return _SOURCE.sub(picture, _LINK.sub(link, text))


def _pictures(text: str, source: str) -> set[str]:
    """Return the pictures that a page shows, by their places in the repository."""
    named = [found[3] for found in _LINK.finditer(text)]
    named += [found[2] for found in _SOURCE.finditer(text)]
    there = {_resolved(name, source) for name in named if name.endswith(_PICTURES)}
    return {path for path in there if (ROOT / path).is_file()}


def _resolved(link: str, source: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def on_post_build(config: MkDocsConfig) -> None:
    """Fail where a page, a style or a script of ours asks the outside for something."""
    site = Path(config.site_dir)
    wrong = []
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        found = requests(path.read_text(encoding="utf-8"))
        wrong += [f"{path.relative_to(site)}: {what}" for what in found]
    if wrong:
        raise PluginError("pages that ask the outside:\n" + "\n".join(wrong))


def requests(page: str) -> list[str]:
    """Return what a page would fetch from elsewhere."""
    return _REQUEST.findall(page)
