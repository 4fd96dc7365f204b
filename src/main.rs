//! Arguments to subcommand; the only file that exits the process.

use entry::client;
use entry::outcome::Action;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = lexopt::Parser::from_env();
    let status = match arguments.next() {
        Ok(Some(lexopt::Arg::Value(word))) if word == "enter" => client::main(Action::Enter, arguments),
        Ok(Some(lexopt::Arg::Value(word))) if word == "attach" => client::main(Action::Attach, arguments),
        _ => {
            let _ = std::io::stderr().write_all(b"Usage: entry enter|attach [OPTIONS] ...\n");
            125
        }
    };
    ExitCode::from(status)
}
