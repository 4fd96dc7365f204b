//! Arguments to subcommand; the only file that exits the process.
fn main() {}
