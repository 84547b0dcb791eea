//! A file tree in one string: `//- /path` starts a file.
