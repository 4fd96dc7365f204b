//! What a client asked for, and how much has been said since: kept until its session is open, and where somebody may
//! ask, for as long as it lasts. Packed, since an idle session counts every byte; where nobody may ask, it is a pointer to nothing.

use super::observer::{Observer, Seen, Wanted};
use crate::access::Right;
use crate::access::tokens::TokenId;
use crate::session::{Millis, Wish};

/// What of a target and a command is kept, in bytes; what is longer is cut.
pub(super) const DOSSIER_BYTES_MAX: usize = 4 * 1024;

/// What a client asked for, and how much has been said since.
#[derive(Debug)]
pub(super) struct Dossier {
    /// What its process was sent to read, in bytes.
    pub(super) input_bytes: u64,
    /// What its process has said, in bytes.
    pub(super) output_bytes: u64,
    /// What was asked for, packed: a right, the token's name, then texts, each behind its length.
    asked: Box<[u8]>,
    /// Who looks on.
    #[allow(clippy::box_collection, reason = "rare, and an idle session counts every byte")]
    observers: Option<Box<Vec<Box<dyn Observer>>>>,
    /// The loop knows that an observer is behind.
    pub(super) is_held_back: bool,
}

/// The same, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The right.
    pub right: Right,
    /// What the token is called in records; empty where none came.
    pub token: String,
    /// Where, in the client's words: `APP/PROC`, `APP/PROC/INSTANCE` or `container:NAME`, as rules have it.
    pub target: String,
    /// The command with its arguments; empty for a shell.
    pub command: Vec<String>,
    /// More had been said.
    pub is_cut: bool,
}

/// The first byte's bits.
const RIGHT_BITS: u8 = 3;
const HAS_TOKEN: u8 = 4;
const IS_CUT: u8 = 8;

impl Dossier {
    pub(super) fn new(wish: &Wish) -> Dossier {
        let right = Right::ALL.iter().position(|right| *right == wish.right).unwrap_or(0);
        let mut flags = u8::try_from(right).unwrap_or(0);
        let mut bytes = vec![0];
        if let Some(TokenId(id)) = &wish.token {
            flags |= HAS_TOKEN;
            bytes.extend_from_slice(id);
        }
        let target = wish.target.to_string();
        for text in std::iter::once(&target).chain(&wish.command) {
            let room = DOSSIER_BYTES_MAX.saturating_sub(bytes.len() + 2);
            let kept =
                &text[..(0..=room.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)];
            // It is no longer than the whole may be.
            bytes.extend_from_slice(&u16::try_from(kept.len()).unwrap_or(0).to_le_bytes());
            bytes.extend_from_slice(kept.as_bytes());
            if kept.len() < text.len() {
                flags |= IS_CUT;
                break;
            }
        }
        bytes[0] = flags;
        Dossier {
            input_bytes: 0,
            output_bytes: 0,
            asked: bytes.into_boxed_slice(),
            observers: None,
            is_held_back: false,
        }
    }

    /// Somebody looks on from now on.
    pub(super) fn observe(&mut self, observer: Box<dyn Observer>) {
        self.observers.get_or_insert_default().push(observer);
    }

    /// Somebody looks on.
    pub(super) fn is_observed(&self) -> bool {
        self.observers.is_some()
    }

    /// Shows it to all who look on; why the session is to end, where one of them wants that.
    pub(super) fn show(&mut self, at: Millis, seen: Seen<'_>) -> Option<&'static str> {
        let observers = self.observers.as_deref_mut()?;
        let mut end = None;
        observers.retain_mut(|observer| match observer.see(at, seen) {
            Wanted::More => true,
            Wanted::Nothing => false,
            Wanted::TheEnd(why) => {
                end = Some(why);
                false
            }
        });
        if observers.is_empty() {
            self.observers = None;
        }
        end
    }

    /// Somebody looks on who is to see everything, and must see first what has been shown.
    pub(super) fn is_behind(&self) -> bool {
        self.observers.as_ref().is_some_and(|all| all.iter().any(|observer| observer.is_behind()))
    }

    pub(super) fn open(&self) -> Asked {
        let (flags, mut rest) = self.asked.split_first().map_or((0, &[][..]), |(flags, rest)| (*flags, rest));
        let mut token = String::new();
        if flags & HAS_TOKEN != 0
            && let Some((id, behind)) = rest.split_first_chunk()
        {
            token = TokenId(*id).to_string();
            rest = behind;
        }
        let mut texts = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (text, behind) = behind.split_at(usize::from(u16::from_le_bytes(*length)).min(behind.len()));
            texts.push(String::from_utf8_lossy(text).into_owned());
            rest = behind;
        }
        let mut texts = texts.into_iter();
        Asked {
            right: Right::ALL.get(usize::from(flags & RIGHT_BITS)).copied().unwrap_or(Right::Enter),
            token,
            target: texts.next().unwrap_or_default(),
            command: texts.collect(),
            is_cut: flags & IS_CUT != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::Target;
    use std::net::{IpAddr, Ipv4Addr};

    fn wish(right: Right, target: Target, command: &[&str], token: Option<TokenId>) -> Wish {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Wish {
            right,
            target,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            address,
            token,
        }
    }

    fn app(instance: &str) -> Target {
        let [app, proc, instance] = ["shop", "api", instance].map(str::to_owned);
        Target::App { app, proc, instance }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let id = TokenId([0, 1, 2, 0xfd, 0xfe, 0xff]);
        let long = "é".repeat(DOSSIER_BYTES_MAX);
        let table = [
            (wish(Right::Enter, app(""), &[], None), "", "shop/api", &[][..]),
            (wish(Right::Attach, app("2"), &[], Some(id)), "000102fdfeff", "shop/api/2", &[]),
            (
                wish(Right::Exec, Target::Container("web".to_owned()), &["ls", "", "-é"], Some(id)),
                "000102fdfeff",
                "container:web",
                &["ls", "", "-é"],
            ),
        ];
        for (wish, token, target, command) in table {
            let asked = Dossier::new(&wish).open();
            assert_eq!((asked.right, asked.is_cut), (wish.right, false));
            assert_eq!(
                (&asked.token[..], &asked.target[..], &asked.command[..]),
                (token, target, &command.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()[..])
            );
        }
        let dossier = Dossier::new(&wish(Right::Exec, app(""), &["a", &long, "b"], None));
        assert!(dossier.asked.len() <= DOSSIER_BYTES_MAX);
        let asked = dossier.open();
        assert!(asked.is_cut && asked.command.len() == 2 && long.starts_with(&asked.command[1]));
    }

    #[test]
    fn that_of_an_idle_session_is_small() {
        let dossier = Dossier::new(&wish(Right::Enter, app("1"), &[], Some(TokenId([0; 6]))));
        assert!(dossier.asked.len() <= 24, "with the allocator's own 8 bytes one block of 32");
    }
}
