//! How a stay ended, as far as this side knows: the exit status and what is said on stderr.

use super::text;
use crate::wire::message::ResponseMessage;
use std::io::{self, IsTerminal as _, Write as _};

/// Our own failures, as with docker.
const OURS: u8 = 125;
/// The number of `Outcome.EXITED` in proto/message.proto.
const EXITED: i32 = 1;
/// How LAIN's server says that nothing went wrong.
const SAFELY: &str = ">>> You quit the container safely.";

/// How a stay ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ending {
    status: u8,
    /// For stderr; may hold colours.
    says: Option<String>,
}

impl Ending {
    /// Something went wrong on this side, or between the sides.
    pub(super) fn failed(why: impl Into<String>) -> Ending {
        Ending { status: OURS, says: Some(format!("entry: {}", why.into())) }
    }

    /// The gateway is gone without a word.
    pub(super) fn lost(how: &str) -> Ending {
        Ending::failed(format!("the link to the gateway was lost: {how}; how the process ended is not known"))
    }

    /// The person typed the escape.
    pub(super) fn left(escape: u8) -> Ending {
        Ending::failed(format!("left by {}.", char::from(escape)))
    }

    /// The person has seen enough.
    pub(super) fn well() -> Ending {
        Ending { status: 0, says: None }
    }

    /// A signal ended this process.
    pub(super) fn signal(number: u8) -> Ending {
        Ending { status: 128_u8.saturating_add(number), says: None }
    }

    /// stdout or stderr takes nothing more. Where a reader went away (`| head`), a Unix tool dies quietly of
    /// SIGPIPE.
    pub(super) fn output_failed(error: &io::Error) -> Ending {
        const SIGPIPE: u8 = 13;
        if error.kind() == io::ErrorKind::BrokenPipe {
            Ending::signal(SIGPIPE)
        } else {
            Ending::failed(format!("the output cannot be written: {error}"))
        }
    }

    /// What entry.v1's CLOSE tells. The status is the gateway's to say; 0 without its word is not believed.
    pub(super) fn told(message: ResponseMessage) -> Ending {
        let said = said(&message);
        match message.close {
            Some(close) if close.outcome == EXITED => {
                Ending { status: status(close.exit_status), says: None }
            }
            Some(close) if close.outcome != 0 => {
                // By this name the operator finds it in the gateway's log.
                let name = (!close.session.is_empty()).then(|| format!(" (session {})", close.session));
                let says = Some(said + &name.unwrap_or_default());
                Ending { status: status(close.exit_status), says }
            }
            _ => Ending { status: OURS, says: Some(said) },
        }
    }

    /// What LAIN's CLOSE tells: nothing but its text.
    pub(super) fn told_by_lain(message: &ResponseMessage) -> Ending {
        let said = said(message);
        if text::clean(&said, false).trim() == SAFELY {
            Ending { status: 0, says: None }
        } else {
            Ending { status: OURS, says: Some(said) }
        }
    }

    /// The same, said on a line of its own: the cursor may stand behind a prompt.
    pub(super) fn on_its_own_line(self) -> Ending {
        Ending { says: self.says.map(|says| format!("\n{says}")), ..self }
    }

    /// Says it, and gives the exit status.
    pub(super) fn tell(self) -> u8 {
        if let Some(says) = self.says {
            let mut stderr = io::stderr();
            let line = format!("{}\n", text::clean(&says, stderr.is_terminal()));
            // Where stderr is closed there is no place left to say so.
            let _ = stderr.write_all(line.as_bytes());
        }
        self.status
    }
}

fn said(message: &ResponseMessage) -> String {
    let said = String::from_utf8_lossy(&message.content).trim_end().to_owned();
    if said.is_empty() { "entry: the gateway ended the session without saying why".to_owned() } else { said }
}

fn status(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Action, Outcome};
    use crate::wire::message::Close;

    fn close(text: &str, close: Option<(i32, u32)>) -> ResponseMessage {
        ResponseMessage {
            content: text.into(),
            close: close.map(|(outcome, exit_status)| Close {
                outcome,
                exit_status,
                session: "1:2".to_owned(),
            }),
            ..Default::default()
        }
    }

    #[test]
    fn what_the_gateway_tells() {
        let table = [
            (Some((1, 0)), 0, false),
            (Some((1, 7)), 7, false),
            (Some((1, 137)), 137, false),
            (Some((1, 256)), 255, false),
            (Some((2, 127)), 127, true),
            (Some((5, 137)), 137, true),
            (Some((99, 3)), 3, true), // an outcome of a newer gateway
            (Some((0, 0)), 125, true),
            (None, 125, true),
        ];
        for (told, status, speaks) in table {
            let ending = Ending::told(close("text", told));
            assert_eq!((ending.status, ending.says.is_some()), (status, speaks), "{told:?}");
        }
        let told = Ending::told(close("Why.", Some((2, 127))));
        assert_eq!(told.says.as_deref(), Some("Why. (session 1:2)"));
        assert!(Ending::told(close("", None)).says.is_some_and(|says| says.contains("without saying why")));
    }

    #[test]
    fn what_lain_tells() {
        let safely = Outcome::Exited { status: 0 }.close_text(Action::Enter);
        assert_eq!(Ending::told_by_lain(&close(&safely, None)), Ending { status: 0, says: None });
        for text in ["\x1b[31m>>> Container is not found.\x1b[0m", "", "You quit the container safely."] {
            let ending = Ending::told_by_lain(&close(text, None));
            assert_eq!((ending.status, ending.says.is_some()), (125, true), "{text}");
        }
        // The number here is the one that the gateway sends.
        assert_eq!(Outcome::Exited { status: 0 }.number(), EXITED);
    }
}
