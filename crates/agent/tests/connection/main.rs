//! The connection between a program and a sandbox, both ends real: the program's [`Connection`], and the runner's
//! `--carry` or the same code in this process.

mod breaches;
mod carried;
mod flow;
mod life;
mod preview;
mod scene;
