"""ComfyUI's way in: a checkout of this repository inside custom_nodes is the node pack."""

# ComfyUI imports this folder as a package. A tool that runs the file by itself (a test collector)
# has no package to be relative to, and wants no nodes.
if __package__:
    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    WEB_DIRECTORY = "./web"  # the help pages, and guidance drawn as curves
    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
