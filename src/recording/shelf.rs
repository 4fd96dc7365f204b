//! The directory of the recordings: what its files are called, and which of them are old enough to go.

use crate::logging::utc;
use crate::session::SessionId;
use crate::sys;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where recordings are.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) directory: PathBuf,
    pub(super) total_bytes_max: Option<u64>,
    pub(super) age_max: Option<Duration>,
}

/// One recording that may go.
struct Old {
    path: PathBuf,
    changed: SystemTime,
    bytes: u64,
}

impl Shelf {
    pub(super) fn new(directory: PathBuf, total_mib_max: Option<u32>, age_days_max: Option<u32>) -> Shelf {
        Shelf {
            directory,
            total_bytes_max: total_mib_max.map(|mib| u64::from(mib) << 20),
            age_max: age_days_max.map(|days| DAY * days),
        }
    }

    /// A new file, which only its owner may read, and which no gateway removes while it is open.
    pub(super) fn create(&self, began: u64, session: SessionId, part: u32) -> io::Result<File> {
        let path = self.directory.join(name(began, session, part));
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        sys::lock(file.as_fd())?;
        Ok(file)
    }

    /// Whether files can be made here, and written.
    pub(super) fn probe(&self) -> io::Result<()> {
        let path = self.directory.join(format!(".entry-{}.probe", std::process::id()));
        let written = fs::write(&path, [b'\n'; 4096]);
        // It may be a directory that takes new files and gives none back; what counts is the first.
        let _ = fs::remove_file(&path);
        written
    }

    /// Removes what is too old, and then the oldest, until the rest is not too much; how many went. Whoever is still
    /// written to stays, by whichever gateway.
    pub(super) fn tidy(&self, now: SystemTime) -> io::Result<usize> {
        if self.total_bytes_max.is_none() && self.age_max.is_none() {
            return Ok(0);
        }
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(is_name) {
                continue;
            }
            // Another gateway may have removed it meanwhile.
            if let Ok(about) = entry.metadata()
                && about.is_file()
            {
                let changed = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                all.push(Old { path: entry.path(), changed, bytes: about.len() });
            }
        }
        all.sort_by_key(|old| old.changed);
        let mut total: u64 = all.iter().map(|old| old.bytes).sum();
        let mut removed = 0;
        for old in &all {
            let is_aged = self
                .age_max
                .is_some_and(|limit| now.duration_since(old.changed).is_ok_and(|age| age > limit));
            let is_much = self.total_bytes_max.is_some_and(|limit| total > limit);
            if (is_aged || is_much) && remove(&old.path) {
                total -= old.bytes;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Unless somebody still writes to it.
fn remove(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| sys::lock(file.as_fd()).is_ok()) && fs::remove_file(path).is_ok()
}

/// `2026-11-22T09-30-00Z_00c0ffee00c0ffee-0000000000000001.cast`; the second file of a long one ends with `_2.cast`.
fn name(began: u64, SessionId { boot, number }: SessionId, part: u32) -> String {
    // Without the fraction; and colons are no part of names elsewhere.
    let time = utc(began, 0).replace(':', "-").replace(".000", "");
    let part = if part > 1 { format!("_{part}") } else { String::new() };
    format!("{time}_{boot:016x}-{number:016x}{part}.cast")
}

/// Whether a file is called as [`name`] calls them. Nothing else is ever removed.
fn is_name(text: &str) -> bool {
    let shape = "dddd-dd-ddTdd-dd-ddZ_xxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx";
    let Some((head, tail)) = text.split_at_checked(shape.len()) else { return false };
    let fits = shape.bytes().zip(head.bytes()).all(|(wanted, byte)| match wanted {
        b'd' => byte.is_ascii_digit(),
        b'x' => byte.is_ascii_hexdigit(),
        other => byte == other,
    });
    let Some(part) = tail.strip_suffix(".cast") else { return false };
    let is_part = |part: &str| {
        part.strip_prefix('_').is_some_and(|number| number.parse().is_ok_and(|part: u32| part > 1))
    };
    fits && (part.is_empty() || is_part(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Directory {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("shelf-test-{}-{number}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Directory(path)
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(&self.0)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const BEGAN: u64 = 1_795_337_999;

    fn id(number: u64) -> SessionId {
        SessionId { boot: 0xc0ffee, number }
    }

    #[test]
    fn names_are_known_again() {
        assert_eq!(name(BEGAN, id(1), 1), "2026-11-22T08-59-59Z_0000000000c0ffee-0000000000000001.cast");
        for part in [1, 2, 3, 40] {
            assert!(is_name(&name(BEGAN, id(u64::MAX), part)));
        }
        let good = name(BEGAN, id(1), 1);
        let odd = [
            "",
            ".cast",
            "notes.txt",
            "2026-11-22T08-59-59Z_0000000000c0ffee-0000000000000001.txt",
            "2026-11-22T08-59-59Z_0000000000c0ffee-0000000000000001_1.cast",
            "2026-11-22T08-59-59Z_0000000000c0ffee-000000000000000g.cast",
            &format!("a{good}"),
            &format!("{good}~"),
            &good.replace("2026", "２０２６"),
        ];
        for text in odd {
            assert!(!is_name(text), "{text}");
        }
    }

    #[test]
    fn files_are_the_owner_s_and_new() {
        let directory = Directory::new();
        let shelf = Shelf::new(directory.0.clone(), None, None);
        shelf.probe().unwrap();
        let file = shelf.create(BEGAN, id(1), 1).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(shelf.create(BEGAN, id(1), 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(directory.names().len(), 1, "the probe leaves nothing");
    }

    #[test]
    fn the_oldest_go_first_and_nobody_who_is_written_to() {
        let directory = Directory::new();
        let days = |days: u64| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(BEGAN) + DAY * u32::try_from(days).unwrap()
        };
        let make = |shelf: &Shelf, number: u64| {
            let mut file = shelf.create(BEGAN, id(number), 1).unwrap();
            file.write_all(&vec![b'x'; 400 << 10]).unwrap();
            file.set_modified(days(number)).unwrap();
            file
        };
        let shelf = Shelf::new(directory.0.clone(), Some(1), Some(5));
        let open = make(&shelf, 0);
        for number in 1..=4 {
            drop(make(&shelf, number));
        }
        fs::write(directory.0.join("README"), vec![b'x'; 4 << 20]).unwrap();
        let left = |expected: &[u64]| {
            let mut names: Vec<String> = expected.iter().map(|number| name(BEGAN, id(*number), 1)).collect();
            names.push("README".to_owned());
            assert_eq!(directory.names(), names);
        };
        // Of five with 400 KiB each, two fit into a MiB; the open one is the oldest of all, and stays.
        assert_eq!(shelf.tidy(days(4)).unwrap(), 3);
        left(&[0, 4]);
        assert_eq!(shelf.tidy(days(9)).unwrap(), 0);
        assert_eq!(shelf.tidy(days(9) + Duration::from_secs(1)).unwrap(), 1);
        left(&[0]);
        drop(open);
        assert_eq!(shelf.tidy(days(10)).unwrap(), 1);
        left(&[]);
        assert_eq!(Shelf::new(directory.0.clone(), None, None).tidy(days(99)).unwrap(), 0);
    }
}
