//! What may be entered, and what may be done there: patterns of targets for each right.
//!
//! A pattern is `APP/PROC`, `APP/PROC/INSTANCE` or `container:NAME`; in each part `*` stands for anything.

use super::Right;
use crate::locate::Target;

/// The most patterns one holder may have, over all rights.
pub const PATTERNS_MAX: usize = 256;

/// What a token may enter, and what it may do there. The default is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    patterns: Vec<(Right, Pattern)>,
    /// Where sessions must be recorded.
    recorded: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Proc { app: String, proc: String, instance: String },
    Container(String),
}

/// What grants say to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// No.
    None,
    /// Yes.
    Granted,
    /// Yes, if the container's own name (what was asked for may be the start of an id) matches one of these.
    IfNamed(Vec<String>),
}

impl Grants {
    /// One pattern more for a right.
    ///
    /// # Errors
    /// What a pattern looks like. The text itself is not repeated: it may be a token in the wrong place.
    pub fn add(&mut self, right: Right, text: &str) -> Result<(), &'static str> {
        let pattern = self.pattern(text)?;
        self.patterns.push((right, pattern));
        Ok(())
    }

    /// One pattern more of targets where sessions must be recorded.
    ///
    /// # Errors
    /// As of [`Grants::add`].
    pub fn add_recorded(&mut self, text: &str) -> Result<(), &'static str> {
        let pattern = self.pattern(text)?;
        self.recorded.push(pattern);
        Ok(())
    }

    fn pattern(&self, text: &str) -> Result<Pattern, &'static str> {
        if self.patterns.len() + self.recorded.len() >= PATTERNS_MAX {
            return Err("at most 256 patterns");
        }
        let parts: Vec<&str> = text.split('/').collect();
        Ok(match (text.strip_prefix("container:"), &parts[..]) {
            (Some(name), _) if !name.is_empty() => Pattern::Container(name.to_owned()),
            (None, [app, proc]) if !app.is_empty() && !proc.is_empty() => {
                Pattern::Proc { app: (*app).to_owned(), proc: (*proc).to_owned(), instance: "*".to_owned() }
            }
            (None, [app, proc, instance]) if !parts.contains(&"") => Pattern::Proc {
                app: (*app).to_owned(),
                proc: (*proc).to_owned(),
                instance: (*instance).to_owned(),
            },
            _ => {
                return Err(
                    "a pattern is APP/PROC, APP/PROC/INSTANCE or container:NAME; * stands for anything",
                );
            }
        })
    }

    /// Whether a session in `target` must be recorded. Where it is not known yet which instance or which container that
    /// is, it must be as soon as one of them might be meant.
    pub fn must_record(&self, target: &Target) -> bool {
        self.recorded.iter().any(|pattern| match (pattern, target) {
            (
                Pattern::Proc { app: apps, proc: procs, instance: instances },
                Target::App { app, proc, instance },
            ) => {
                matches(apps, app)
                    && matches(procs, proc)
                    && (instance.is_empty() || matches(instances, instance))
            }
            (Pattern::Container(_), Target::Container(_)) => true,
            (Pattern::Proc { .. }, Target::Container(_)) | (Pattern::Container(_), Target::App { .. }) => {
                false
            }
        })
    }

    /// What these grants say to using `right` on `target`.
    pub fn permission(&self, right: Right, target: &Target) -> Permission {
        let mut patterns = self.patterns.iter().filter(|(of, _)| *of == right).map(|(_, pattern)| pattern);
        match target {
            Target::App { app, proc, instance } => {
                let granted = patterns.any(|pattern| match pattern {
                    Pattern::Proc { app: apps, proc: procs, instance: instances } => {
                        matches(apps, app) && matches(procs, proc) && matches(instances, instance)
                    }
                    Pattern::Container(_) => false,
                });
                if granted { Permission::Granted } else { Permission::None }
            }
            Target::Container(_) => {
                let names: Vec<String> = patterns
                    .filter_map(|pattern| match pattern {
                        Pattern::Container(name) => Some(name.clone()),
                        Pattern::Proc { .. } => None,
                    })
                    .collect();
                if names.is_empty() { Permission::None } else { Permission::IfNamed(names) }
            }
        }
    }
}

/// In a pattern `*` stands for any bytes, everything else for itself. Linear in the product of both lengths at worst.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut name_at) = (0, 0);
    let mut star = None;
    while name_at < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, name_at));
            at += 1;
        } else if pattern.get(at) == name.get(name_at) {
            at += 1;
            name_at += 1;
        } else if let Some((star_at, taken)) = star {
            // Let the last star take one byte more.
            star = Some((star_at, taken + 1));
            at = star_at + 1;
            name_at = taken + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(app: &str, proc: &str, instance: &str) -> Target {
        Target::App { app: app.to_owned(), proc: proc.to_owned(), instance: instance.to_owned() }
    }

    #[test]
    fn patterns_of_targets() {
        let table = [
            ("shop/web", app("shop", "web", ""), true),
            ("shop/web", app("shop", "web", "7"), true),
            ("shop/web", app("shop", "web2", ""), false),
            ("shop/*", app("shop", "web", ""), true),
            ("shop/*", app("shop2", "web", ""), false),
            ("*/*", app("any/thing", "at all", "x"), true),
            ("shop/web/1", app("shop", "web", "1"), true),
            ("shop/web/1", app("shop", "web", "10"), false),
            ("shop/web/1", app("shop", "web", ""), false),
            ("*/*", Target::Container("web".to_owned()), false),
            ("container:*", app("shop", "web", ""), false),
        ];
        for (pattern, target, granted) in table {
            let mut grants = Grants::default();
            grants.add(Right::Enter, pattern).unwrap();
            let expected = if granted { Permission::Granted } else { Permission::None };
            assert_eq!(grants.permission(Right::Enter, &target), expected, "{pattern} {target:?}");
            for other in [Right::Attach, Right::Exec] {
                assert_eq!(grants.permission(other, &target), Permission::None, "rights are separate");
            }
        }
    }

    #[test]
    fn containers_by_name_are_granted_by_what_they_are_called() {
        let mut grants = Grants::default();
        for pattern in ["shop/*", "container:web-*", "container:db"] {
            grants.add(Right::Exec, pattern).unwrap();
        }
        let names = vec!["web-*".to_owned(), "db".to_owned()];
        let target = Target::Container("c0ffee".to_owned());
        assert_eq!(grants.permission(Right::Exec, &target), Permission::IfNamed(names));
        assert_eq!(grants.permission(Right::Enter, &target), Permission::None);
    }

    #[test]
    fn what_must_be_recorded_is_recorded_in_any_case() {
        let container = |name: &str| Target::Container(name.to_owned());
        let table = [
            ("shop/*", app("shop", "web", ""), true),
            ("shop/web/1", app("shop", "web", ""), true),
            ("shop/web/1", app("shop", "web", "1"), true),
            ("shop/web/1", app("shop", "web", "2"), false),
            ("shop/web", app("blog", "web", ""), false),
            ("shop/web", container("shop-web"), false),
            ("container:db", container("c0ffee"), true),
            ("container:*", app("shop", "web", ""), false),
        ];
        for (pattern, target, must) in table {
            let mut grants = Grants::default();
            grants.add_recorded(pattern).unwrap();
            assert_eq!(grants.must_record(&target), must, "{pattern} {target:?}");
            assert_eq!(grants.permission(Right::Enter, &target), Permission::None, "it is no right");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "*", "shop", "shop/", "/web", "a/b/c/d", "a/b/", "container:"] {
            assert!(Grants::default().add(Right::Enter, text).is_err(), "{text}");
        }
        let mut grants = Grants::default();
        for _ in 0..PATTERNS_MAX {
            grants.add(Right::Enter, "a/b").unwrap();
        }
        assert!(grants.add(Right::Enter, "a/b").is_err());
    }

    #[test]
    fn stars() {
        let table = [
            ("*", "anything", true),
            ("web-*", "web-1", true),
            ("web-*", "xweb-1", false),
            ("*-db", "shop-db", true),
            ("*-db", "shop-db2", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("web", "web", true),
            ("web", "web2", false),
            ("", "", true),
            ("*", "", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
