//! `--access RULE` as the operator writes it, before files are read: text → value → [`Rule`].

use super::jwt::{self, Claims};
use super::{Asked, Jwt, Lain, Question, Right, Rule, Token, Tokens, Webhook};
use crate::locate::Target;
use crate::service::{Service, ServiceId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::net::{IpAddr, Ipv4Addr};
use std::fmt;
use std::sync::Arc;

/// What stands before the text of a rule, for people who wrote another.
const MEANT: &str = "--access takes anonymous, tokens=FILE, jwt=NAME=VALUE,…, webhook=URL or lain";

/// One rule of the configuration. The files it names are not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// `anonymous`
    Anonymous,
    /// `tokens=FILE`
    Tokens {
        /// The file's path.
        file: String,
    },
    /// `jwt=keys=FILE|URL,…` or `jwt=secret=FILE,…`
    Jwt {
        /// Where the keys are.
        keys: KeySpec,
        /// What tokens must say.
        claims: Claims,
    },
    /// `webhook=URL`
    Webhook(Webhook),
    /// `lain`
    Lain(Lain),
}

/// Where the keys of signed tokens are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySpec {
    /// A file of public keys.
    File(String),
    /// A file with a secret.
    Secret(String),
    /// A service that publishes them.
    Service(Asked),
}

/// What reading a rule needs beside its text.
pub struct World<'a> {
    /// Services of the settings; those of the rule are added.
    pub services: &'a mut Vec<Service>,
    /// How long one call to such a service may take, in milliseconds.
    pub service_milliseconds_max: u64,
    /// The environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

impl World<'_> {
    fn service(&mut self, name: &str, url: &str) -> Result<Asked, String> {
        let service = Service::parse(name, url, self.service_milliseconds_max)
            .map_err(|error| format!("--access: the address of {name}: {error}"))?;
        let id = u16::try_from(self.services.len()).map_err(|_| "--access: too many services".to_owned())?;
        self.services.push(service.clone());
        Ok(Asked { id: ServiceId(id), service })
    }
}

impl Spec {
    /// Reads the text of a rule.
    ///
    /// # Errors
    /// One sentence that says what is wrong and what to write.
    pub fn parse(text: &str, world: &mut World<'_>) -> Result<Spec, String> {
        let (kind, rest) = text.split_once('=').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        match (kind, rest) {
            ("anonymous", None) => Ok(Spec::Anonymous),
            ("tokens", Some(file)) if !file.is_empty() => Ok(Spec::Tokens { file: file.to_owned() }),
            ("webhook", Some(url)) => {
                Ok(Spec::Webhook(Webhook::new(world.service("the access webhook", url)?)))
            }
            ("jwt", Some(options)) => parse_jwt(options, world),
            ("lain", options) => parse_lain(options.unwrap_or_default(), world),
            _ => Err(MEANT.to_owned()),
        }
    }

    /// The file it depends on, which is read again when the operator asks for it.
    pub fn file(&self) -> Option<&str> {
        match self {
            Spec::Tokens { file } | Spec::Jwt { keys: KeySpec::File(file) | KeySpec::Secret(file), .. } => {
                Some(file)
            }
            Spec::Anonymous
            | Spec::Jwt { keys: KeySpec::Service(_), .. }
            | Spec::Webhook(_)
            | Spec::Lain(_) => None,
        }
    }

    /// The most bytes that file may have.
    pub fn file_bytes_max(&self) -> usize {
        match self {
            Spec::Tokens { .. } => super::tokens::FILE_BYTES_MAX,
            Spec::Anonymous | Spec::Jwt { .. } | Spec::Webhook(_) | Spec::Lain(_) => jwt::FILE_BYTES_MAX,
        }
    }

    /// Somebody is let in without proof of who it is.
    pub fn lets_anybody_in(&self) -> bool {
        match self {
            Spec::Anonymous => true,
            Spec::Lain(lain) => lain.without_auth_let_everybody_in,
            Spec::Tokens { .. } | Spec::Jwt { .. } | Spec::Webhook(_) => false,
        }
    }

    /// The question of somebody whom nobody knows, such that the rule has to ask all whom it depends on.
    pub fn stranger(&self) -> Question {
        let name = || "entry-check".to_owned();
        let part = |text: &serde_json::Value| URL_SAFE_NO_PAD.encode(text.to_string());
        let token = match self {
            Spec::Jwt { claims, .. } => {
                let header = serde_json::json!({"alg": "RS256", "kid": name()});
                let claims = serde_json::json!({"iss": claims.issuer, "sub": name()});
                format!("{}.{}.", part(&header), part(&claims))
            }
            Spec::Anonymous | Spec::Tokens { .. } | Spec::Webhook(_) | Spec::Lain(_) => name(),
        };
        Question {
            token: Token::Text(token),
            right: Right::Enter,
            target: Target::App { app: name(), proc: name(), instance: String::new() },
            command: Vec::new(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// The rule, with the content of [`Spec::file`].
    ///
    /// # Errors
    /// What is wrong with the file's content; nothing of it is repeated.
    pub fn rule(&self, file: &[u8]) -> Result<Rule, String> {
        Ok(match self {
            Spec::Anonymous => Rule::Anonymous,
            Spec::Tokens { .. } => {
                let text = std::str::from_utf8(file).map_err(|_| "it is no text (UTF-8)".to_owned())?;
                Rule::Tokens(Arc::new(Tokens::parse(text).map_err(|error| error.to_string())?))
            }
            Spec::Jwt { keys, claims } => {
                let claims = claims.clone();
                Rule::Jwt(Arc::new(match keys {
                    KeySpec::File(_) => Jwt::with_keys(file, claims)?,
                    KeySpec::Secret(_) => Jwt::with_secret(file, claims)?,
                    KeySpec::Service(service) => Jwt::with_service(service.clone(), claims),
                }))
            }
            Spec::Webhook(webhook) => Rule::Webhook(webhook.clone()),
            Spec::Lain(lain) => Rule::Lain(lain.clone()),
        })
    }
}

/// What the operator wrote, in short.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spec::Anonymous => f.write_str("anonymous"),
            Spec::Tokens { file } => write!(f, "tokens={file}"),
            Spec::Jwt { keys: KeySpec::File(file), .. } => write!(f, "jwt=keys={file}"),
            Spec::Jwt { keys: KeySpec::Secret(file), .. } => write!(f, "jwt=secret={file}"),
            Spec::Jwt { keys: KeySpec::Service(asked), .. } => write!(f, "jwt=keys={}", asked.service),
            Spec::Webhook(webhook) => write!(f, "webhook={}", webhook.service.service),
            Spec::Lain(_) => f.write_str("lain"),
        }
    }
}

/// `NAME=VALUE,NAME=VALUE`, each name at most once.
fn options<'a>(text: &'a str, known: &[&str], rule: &str) -> Result<Vec<(&'a str, &'a str)>, String> {
    let mut options: Vec<(&str, &str)> = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((name, value)) if known.contains(&name) && !value.is_empty() => {
                if options.iter().any(|(other, _)| *other == name) {
                    return Err(format!("--access {rule}: {name} stands there twice"));
                }
                options.push((name, value));
            }
            _ => return Err(format!("--access {rule} takes NAME=VALUE with the names {}", known.join(", "))),
        }
    }
    Ok(options)
}

fn parse_jwt(text: &str, world: &mut World<'_>) -> Result<Spec, String> {
    const KNOWN: [&str; 7] = ["keys", "secret", "audience", "issuer", "skew", "claim", "user"];
    let options = options(text, &KNOWN, "jwt=…")?;
    let option = |name: &str| options.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    let keys = match (option("keys"), option("secret")) {
        (Some(url), None) if url.contains("://") => {
            KeySpec::Service(world.service("the issuer of keys", url)?)
        }
        (Some(file), None) => KeySpec::File(file.to_owned()),
        (None, Some(file)) => KeySpec::Secret(file.to_owned()),
        (Some(_), Some(_)) | (None, None) => {
            return Err("--access jwt=… takes keys=FILE-or-URL (RS256, ES256, EdDSA) or secret=FILE (HS256)"
                .to_owned());
        }
    };
    let Some(audience) = option("audience") else {
        let text = "--access jwt=… needs audience=NAME: without it, any token of the same issuer would do";
        return Err(text.to_owned());
    };
    let skew_seconds = match option("skew").map_or(Ok(jwt::SKEW_SECONDS), str::parse) {
        Ok(seconds @ 0..=3600) => seconds,
        Ok(_) | Err(_) => return Err("--access jwt=…: skew takes seconds, 0 to 3600".to_owned()),
    };
    let claims = Claims {
        audience: audience.to_owned(),
        issuer: option("issuer").map(str::to_owned),
        skew_seconds,
        grants: option("claim").unwrap_or(jwt::CLAIM).to_owned(),
        user: option("user").unwrap_or("sub").to_owned(),
    };
    Ok(Spec::Jwt { keys, claims })
}

fn parse_lain(text: &str, world: &mut World<'_>) -> Result<Spec, String> {
    let options = options(text, &["lainlet", "console", "sso"], "lain=…")?;
    let option =
        |name: &str| options.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
    let from_environment = |name: &str, what: &str| {
        (world.environment)(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            format!("--access lain: say where {what} is: {what}=URL, or ${name} in the environment")
        })
    };
    let lainlet = match option("lainlet") {
        Some(url) => url,
        None => format!("http://lainlet.lain:{}", from_environment("LAINLET_PORT", "lainlet")?),
    };
    let console = match option("console") {
        Some(url) => url,
        None => format!("http://console.{}", from_environment("LAIN_DOMAIN", "console")?),
    };
    let sso = match option("sso") {
        Some(url) if url == "none" => None,
        Some(url) => Some(url),
        None => Some(format!("https://sso.{}", from_environment("LAIN_DOMAIN", "sso")?)),
    };
    Ok(Spec::Lain(Lain {
        lainlet: world.service("lainlet", &lainlet)?,
        console: world.service("LAIN's console", &console)?,
        sso: sso.map(|sso| world.service("LAIN's SSO", &sso)).transpose()?,
        without_auth_let_everybody_in: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(Spec, Vec<String>), String> {
        let environment = |name: &str| match name {
            "LAINLET_PORT" => Some("9001".to_owned()),
            "LAIN_DOMAIN" => Some("lain.example".to_owned()),
            _ => None,
        };
        let mut services = Vec::new();
        let mut world =
            World { services: &mut services, service_milliseconds_max: 4000, environment: &environment };
        let spec = Spec::parse(text, &mut world)?;
        Ok((spec, services.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn rules_and_the_services_they_ask() {
        let table: [(&str, Option<&str>, &[&str]); 6] = [
            ("anonymous", None, &[]),
            ("tokens=/etc/entry/tokens.toml", Some("/etc/entry/tokens.toml"), &[]),
            ("webhook=http://hook:81/may", None, &["http://hook:81/may"]),
            ("jwt=keys=/k.pem,audience=entry,issuer=https://id.example,skew=5", Some("/k.pem"), &[]),
            ("jwt=secret=/s,audience=entry", Some("/s"), &[]),
            ("jwt=keys=http://id.example/jwks,audience=entry", None, &["http://id.example/jwks"]),
        ];
        for (text, file, services) in table {
            let (spec, asked) = parse(text).unwrap();
            assert_eq!(
                (spec.file(), asked),
                (file, services.iter().map(ToString::to_string).collect()),
                "{text}"
            );
        }
        let (spec, services) = parse("lain=sso=none").unwrap();
        assert_eq!(services, ["http://lainlet.lain:9001", "http://console.lain.example"]);
        assert!(!spec.lets_anybody_in());
        let (_, services) = parse("lain=lainlet=http://a:1,console=http://b,sso=http://c").unwrap();
        assert_eq!(services, ["http://a:1", "http://b", "http://c"]);
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let table = [
            ("", "takes anonymous"),
            ("everybody", "takes anonymous"),
            ("anonymous=yes", "takes anonymous"),
            ("tokens", "takes anonymous"),
            ("tokens=", "takes anonymous"),
            ("webhook=hook", "the access webhook"),
            ("jwt=", "keys=FILE-or-URL"),
            ("jwt=audience=a", "keys=FILE-or-URL"),
            ("jwt=keys=/a,secret=/b,audience=a", "keys=FILE-or-URL"),
            ("jwt=keys=/a", "needs audience"),
            ("jwt=keys=/a,audience=a,skew=x", "0 to 3600"),
            ("jwt=keys=/a,audience=a,audience=b", "twice"),
            ("jwt=keys=/a,audience=a,alg=none", "with the names keys, secret"),
            ("lain=domain=x", "with the names lainlet"),
        ];
        for (text, words) in table {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
