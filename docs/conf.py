"""How Sphinx makes the site: the pages of this folder, and a reference made from the docstrings."""

from softgate_ext import __version__

project = "softgate_ext"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"softgate_ext {__version__}"

myst_heading_anchors = 3

# A name in single backticks is code, in docstrings as in Markdown.
default_role = "code"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {
    "members": True,
    "imported-members": True,
    "member-order": "bysource",
    "show-inheritance": True,
}
napoleon_use_rtype = False

# Every reference must lead somewhere. Those to other packages cannot: the site is built without the network.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(torch|numpy|np|npt|collections|contextlib|pathlib|typing|pydantic)(\..*)?"),
    (
        "py:.*",
        r"softgate_ext\.nn\._pending\..*|softgate_ext\.nn\.norm\.Result",
    ),  # private; a type variable
    (
        "py:class",
        r"softgate_ext\.runs\.train_config\.TrainConfig",
    ),  # its fields are the options of `softgate train`
    (
        "py:class",
        r"dict\[str",
    ),  # Sphinx cannot parse the signature of a dataclass that has a factory
]
