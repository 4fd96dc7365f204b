//! Arguments → subcommand; the only file that exits the process.

use entry::outcome::Action;
use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "\
Enter your own containers from a terminal or a browser.

Usage:
  entry enter [OPTIONS] APP PROC [INSTANCE] [-- COMMAND…]   a shell or a command in a container
  entry attach [OPTIONS] APP PROC [INSTANCE]                what a container says
  entry watch [OPTIONS] SESSION                             what happens in an open session, read only
  entry serve [OPTIONS]                                     the gateway
  entry check [OPTIONS]                                     tries out what the gateway would go by
  entry token new --user NAME [OPTIONS]                     a token for --access tokens=FILE
  entry top [OPTIONS]                                       who is in, live
  entry play [OPTIONS] FILE                                 shows a recording
  entry demo [-- COMMAND…]                                  try it on this machine, without Docker
  entry version                                             which Entry this is

entry SUBCOMMAND --help tells more.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let subcommand = arguments.next().unwrap_or_default();
    match subcommand.to_str() {
        Some("enter") => entry::client::main(Action::Enter, lexopt::Parser::from_args(arguments)).into(),
        Some("attach") => entry::client::main(Action::Attach, lexopt::Parser::from_args(arguments)).into(),
        Some("watch") => entry::client::main(Action::Watch, lexopt::Parser::from_args(arguments)).into(),
        Some("demo") => entry::demo::command::main(arguments).into(),
        Some("check") => entry::check::main(arguments).into(),
        Some("serve") => entry::serve::main(arguments).into(),
        Some("play") => entry::play::main(arguments).into(),
        Some("top") => entry::top::main(arguments).into(),
        Some("token") => entry::token::main(arguments).into(),
        Some("help" | "--help" | "-h") => {
            let _ = std::io::stdout().write_all(USAGE.as_bytes());
            ExitCode::SUCCESS
        }
        Some("version" | "--version" | "-V") => {
            let _ = writeln!(std::io::stdout(), "entry {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            let mut stderr = std::io::stderr();
            if !subcommand.is_empty() {
                let _ = writeln!(stderr, "entry: there is no subcommand {}.", subcommand.display());
            }
            let _ = stderr.write_all(USAGE.as_bytes());
            ExitCode::from(2)
        }
    }
}
