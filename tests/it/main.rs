//! The real binary as a black box, a file per feature.

mod binary;
mod cli;
mod talk;
