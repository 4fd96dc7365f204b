//! Where the value of an option stands: on the command line, in the environment, in a file. The first of these that
//! gives an option counts, and its values are all that count.
//!
//! Knows no option: only their names, and whether they take values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use toml::de::{DeTable, DeValue};

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing: it is there or not.
    Nothing,
    /// One value; the text stands for it in the help.
    One(&'static str),
    /// Any number of values, one each time.
    Many(&'static str),
}

/// An option as far as its sources go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    /// As it is written behind `--`, and in the file.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) takes: Takes,
}

/// What there is around the command line.
pub struct Surroundings<'a> {
    /// The value of an environment variable that is set.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file.
    pub file: &'a dyn Fn(&str) -> io::Result<String>,
}

impl Surroundings<'static> {
    /// Those of this process.
    pub fn of_process() -> Surroundings<'static> {
        Surroundings {
            variable: &|name| std::env::var(name).ok(),
            file: &|path| std::fs::read_to_string(path),
        }
    }
}

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) text: String,
    /// How errors begin: `--listen`, `ENTRY_LISTEN`, `entry.toml, line 3: listen`.
    pub(super) place: String,
}

/// All values that count, by the option's name.
pub(super) type Values = BTreeMap<&'static str, Vec<Given>>;

/// The option that names the file.
const CONFIG: &str = "config";

/// Reads all sources; None where help is asked for.
pub(super) fn gather(
    options: &[Named],
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings<'_>,
    subcommand: &str,
) -> Result<Option<Values>, String> {
    let Some(mut values) = flags(options, arguments, subcommand)? else { return Ok(None) };
    for (name, given) in environment(options, surroundings)? {
        values.entry(name).or_insert(given);
    }
    if let Some([.., path]) = values.get(CONFIG).map(Vec::as_slice) {
        let text = (surroundings.file)(&path.text)
            .map_err(|error| format!("{}: {} cannot be read: {error}", path.place, path.text))?;
        for (name, given) in file(options, &path.text, &text)? {
            values.entry(name).or_insert(given);
        }
    }
    // A flag that is said to be off is not there.
    for option in options.iter().filter(|option| option.takes == Takes::Nothing) {
        if values.get(option.name).is_some_and(|given| given.iter().all(|given| given.text == "false")) {
            values.remove(option.name);
        }
    }
    Ok(Some(values))
}

/// `ENTRY_` and the name, as environments write names.
pub(super) fn variable_name(option: &str) -> String {
    format!("ENTRY_{}", option.to_ascii_uppercase().replace('-', "_"))
}

/// The nearest of these names, if one is near: for a slip of the hand.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|known| (edits(name, known), known)).min()?;
    (near.0 <= 1 + name.len() / 4).then_some(near.1)
}

fn flags(
    options: &[Named],
    arguments: impl IntoIterator<Item = OsString>,
    subcommand: &str,
) -> Result<Option<Values>, String> {
    use lexopt::prelude::{Long, Short, Value, ValueExt};
    let mut values = Values::new();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let option = match &argument {
            Short('h') | Long("help") => return Ok(None),
            Long(name) => options.iter().find(|option| option.name == *name).copied(),
            Short(_) | Value(_) => None,
        };
        let Some(option) = option else {
            let meant = match &argument {
                Long(name) => nearest(name, options.iter().map(|option| option.name)),
                Short(_) | Value(_) => None,
            };
            let meant = meant.map(|name| format!("; did you mean --{name}?")).unwrap_or_default();
            return Err(format!("{}{meant}; see entry {subcommand} --help", argument.unexpected()));
        };
        let text = match option.takes {
            Takes::Nothing => "true".to_owned(),
            Takes::One(_) | Takes::Many(_) => {
                parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())?
            }
        };
        let given = values.entry(option.name).or_default();
        if !matches!(option.takes, Takes::Many(_)) {
            // The last one counts, as people are used to.
            given.clear();
        }
        given.push(Given { text, place: format!("--{}", option.name) });
    }
    Ok(Some(values))
}

fn environment(options: &[Named], surroundings: &Surroundings<'_>) -> Result<Values, String> {
    let mut values = Values::new();
    for option in options {
        let place = variable_name(option.name);
        let Some(text) = (surroundings.variable)(&place).filter(|text| !text.is_empty()) else { continue };
        let texts: Vec<String> = match option.takes {
            Takes::One(_) => vec![text],
            Takes::Many(_) => text.split_whitespace().map(str::to_owned).collect(),
            Takes::Nothing => match text.as_str() {
                "1" | "true" | "yes" => vec!["true".to_owned()],
                "0" | "false" | "no" => vec!["false".to_owned()],
                other => return Err(format!("{place} is 1 or 0, not {other:?}")),
            },
        };
        let given = texts.into_iter().map(|text| Given { text, place: place.clone() }).collect();
        values.insert(option.name, given);
    }
    Ok(values)
}

fn file(options: &[Named], path: &str, text: &str) -> Result<Values, String> {
    let place = |at: usize| {
        let line = 1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
        format!("{path}, line {line}")
    };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        format!("{}: this is not TOML: {}", place(at), error.message())
    })?;
    let mut values = Values::new();
    for (key, value) in table.get_ref() {
        let (name, at) = (key.get_ref(), place(key.span().start));
        let known = options.iter().filter(|option| option.name != CONFIG);
        let Some(option) = known.clone().find(|option| option.name == name) else {
            let meant = nearest(name, known.map(|option| option.name));
            let meant = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            return Err(format!("{at}: there is no option {}{meant}", name.escape_debug()));
        };
        let wrong = |wanted: &str, got: &str| Err(format!("{at}: {name} is {wanted}, not {got}"));
        let texts: Vec<String> = match (option.takes, value.get_ref()) {
            (Takes::Nothing, DeValue::Boolean(is_on)) => vec![is_on.to_string()],
            (Takes::Nothing, other) => return wrong("true or false", other.type_str()),
            (Takes::One(_) | Takes::Many(_), DeValue::String(text)) => vec![text.to_string()],
            (Takes::One(_) | Takes::Many(_), DeValue::Integer(number)) => vec![number.to_string()],
            (Takes::One(_), other) => return wrong("one string or number", other.type_str()),
            (Takes::Many(_), DeValue::Array(items)) => {
                let mut texts = Vec::new();
                for item in items {
                    let Some(text) = item.get_ref().as_str() else {
                        return wrong("a string or a list of strings", item.get_ref().type_str());
                    };
                    texts.push(text.to_owned());
                }
                texts
            }
            (Takes::Many(_), other) => return wrong("a string or a list of strings", other.type_str()),
        };
        let given = texts.into_iter().map(|text| Given { text, place: format!("{at}: {name}") }).collect();
        values.insert(option.name, given);
    }
    Ok(values)
}

/// How many single letters have to be changed, added or taken away (Levenshtein's distance).
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: [Named; 4] = [
        Named { name: "config", takes: Takes::One("FILE") },
        Named { name: "listen", takes: Takes::One("ADDR:PORT") },
        Named { name: "allow-container", takes: Takes::Many("PATTERN") },
        Named { name: "demo", takes: Takes::Nothing },
    ];

    /// What is given, by flags, environment and file.
    fn gathered(flags: &[&str], variables: &[(&str, &str)], file: &str) -> Result<Values, String> {
        let surroundings = Surroundings {
            variable: &|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            },
            file: &|path| {
                if path == "e.toml" { Ok(file.to_owned()) } else { Err(io::ErrorKind::NotFound.into()) }
            },
        };
        gather(&OPTIONS, flags.iter().map(OsString::from), &surroundings, "serve").map(Option::unwrap)
    }

    fn texts<'a>(values: &'a Values, name: &str) -> Vec<&'a str> {
        values.get(name).into_iter().flatten().map(|given| given.text.as_str()).collect()
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file = "listen = \"file\"\nallow-container = [\"a\", \"b\"]\ndemo = true\n";
        let variables =
            [("ENTRY_LISTEN", "variable"), ("ENTRY_ALLOW_CONTAINER", " c\td "), ("ENTRY_DEMO", "0")];
        let all =
            gathered(&["--config", "e.toml", "--listen", "x", "--listen=flag"], &variables, file).unwrap();
        assert_eq!(texts(&all, "listen"), ["flag"]);
        assert_eq!(texts(&all, "allow-container"), ["c", "d"], "one source's list, not a mixture");
        assert_eq!(texts(&all, "demo"), [""; 0], "off is off");
        let mut with_file = variables.to_vec();
        with_file.push(("ENTRY_CONFIG", "e.toml"));
        let some = gathered(&["--allow-container", "x", "--allow-container", "y"], &with_file, file).unwrap();
        assert_eq!(
            (texts(&some, "allow-container"), texts(&some, "listen")),
            (vec!["x", "y"], vec!["variable"])
        );
        let file_alone = gathered(&["--config", "e.toml"], &[("ENTRY_LISTEN", "")], file).unwrap();
        assert_eq!(texts(&file_alone, "listen"), ["file"], "an empty variable says nothing");
        assert_eq!(texts(&file_alone, "allow-container"), ["a", "b"]);
        assert_eq!(texts(&file_alone, "demo"), ["true"]);
        assert_eq!(file_alone["listen"][0].place, "e.toml, line 1: listen");
    }

    #[test]
    fn a_file_takes_numbers_and_single_strings() {
        let file = "# a comment\n\"listen\" = 8_022\nallow-container = '*'\ndemo = false";
        let values = gathered(&["--config", "e.toml"], &[], file).unwrap();
        assert_eq!((texts(&values, "listen"), texts(&values, "allow-container")), (vec!["8022"], vec!["*"]));
        assert!(texts(&values, "demo").is_empty());
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let table: [(&[&str], &str, &str); 14] = [
            (&["--listn", "x"], "", "did you mean --listen?"),
            (&["--qqqqqq", "x"], "", "entry serve --help"),
            (&["stray"], "", "entry serve --help"),
            (&["--listen"], "", "listen"),
            (&["--config", "none.toml"], "", "none.toml cannot be read"),
            (
                &["--config", "e.toml"],
                "\nlistn = 1",
                "e.toml, line 2: there is no option listn; did you mean listen?",
            ),
            (&["--config", "e.toml"], "qqqqqqqqq = 1", "e.toml, line 1: there is no option qqqqqqqqq"),
            (&["--config", "e.toml"], "allow_container = 1", "did you mean allow-container?"),
            (&["--config", "e.toml"], "config = \"other.toml\"", "there is no option config"),
            (&["--config", "e.toml"], "a = 1\n\nlisten = [", "e.toml, line 3: this is not TOML"),
            (&["--config", "e.toml"], "listen = [\"a\"]", "listen is one string or number, not array"),
            (&["--config", "e.toml"], "allow-container = [1]", "a list of strings, not integer"),
            (&["--config", "e.toml"], "demo = \"yes\"", "demo is true or false, not string"),
            (
                &["--config", "e.toml"],
                "[listen]\nport = 1",
                "line 1: listen is one string or number, not table",
            ),
        ];
        for (flags, file, words) in table {
            let error = gathered(flags, &[], file).unwrap_err();
            assert!(error.contains(words), "{flags:?} {file:?}: {error}");
        }
        let error = gathered(&[], &[("ENTRY_DEMO", "maybe")], "").unwrap_err();
        assert_eq!(error, "ENTRY_DEMO is 1 or 0, not \"maybe\"");
    }

    #[test]
    fn names_that_are_near() {
        let known = ["listen", "labels", "locate", "allow-container"];
        for (name, near) in [
            ("listen", Some("listen")),
            ("lisen", Some("listen")),
            ("label", Some("labels")),
            ("allow-containers", Some("allow-container")),
            ("", None),
            ("engine", None),
        ] {
            assert_eq!(nearest(name, known), near, "{name}");
        }
        assert_eq!((edits("", "abc"), edits("kitten", "sitting")), (3, 3));
    }
}
