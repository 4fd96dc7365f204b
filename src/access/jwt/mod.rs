//! `jwt=…`: signed tokens (RFC 7519). The signature and the header are `jsonwebtoken`'s and ring's business; which key,
//! which algorithm, and what the claims must say, is decided here, with the time that is given.
//!
//! Keys come from a file, or from the issuer's JSON Web Key Set: that is fetched when it is first needed, again when it
//! has become old, and once more when a token may be signed with a key that is not in it. Whoever can connect can send such
//! tokens, so it is fetched no more often than every [`REFETCH_SECONDS_MIN`], whatever tokens say and whether the issuer
//! answers; only those who come while the very first fetch is under way ask for themselves, since they have nothing else
//! to go by.

mod keys;
mod verifier;

pub use keys::{FILE_BYTES_MAX, KEYS_MAX, SECRET_BYTES_MIN};

use super::{
    Answer, Asked, Grant, Grants, Move, Now, Question, Recheck, Right, Stage, Token, UnixSeconds, Verdict,
};
use super::{good, one_line, tokens};
use crate::service::ServiceId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Validation, decode};
use keys::Key;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// A fetched set is fetched anew when it is as old as this.
pub const FRESH_SECONDS: u64 = 300;
/// While its issuer cannot be reached, it is used up to this age.
pub const STALE_SECONDS_MAX: u64 = 3600;
/// The least time between two fetches.
pub const REFETCH_SECONDS_MIN: u64 = 10;
/// How far two clocks may be apart, unless the rule says otherwise.
pub const SKEW_SECONDS: u64 = 60;
/// The claim that names what may be entered, unless the rule says otherwise.
pub const CLAIM: &str = "entry";

/// Where the keys are.
#[derive(Debug, Clone)]
enum Source {
    Known(Vec<Key>),
    Fetched(Asked),
}

/// The rule.
#[derive(Debug, Clone)]
pub struct Jwt {
    source: Source,
    audience: String,
    issuer: Option<String>,
    skew_seconds: u64,
    claim: String,
    user_claim: String,
}

/// What tokens must say, besides their signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `aud`: the token must be meant for this gateway.
    pub audience: String,
    /// `iss`: who made it, where that matters. A token of another issuer is left to the next rule.
    pub issuer: Option<String>,
    /// How far the issuer's clock and ours may be apart.
    pub skew_seconds: u64,
    /// The claim that names what may be entered: an object of `enter`, `attach`, `exec` and `watch`, lists of patterns;
    /// and of `record`, those where sessions must be recorded.
    pub grants: String,
    /// The claim that names the user.
    pub user: String,
}

/// Sets of keys that were fetched, by their service.
#[derive(Debug, Default)]
pub struct Fetched {
    sets: HashMap<ServiceId, Set>,
}

#[derive(Debug, Default)]
struct Set {
    keys: Vec<Key>,
    /// When; `None` before the first.
    fetched: Option<UnixSeconds>,
    /// When it was last tried.
    tried: UnixSeconds,
    /// The last try came to nothing.
    failed: bool,
}

/// What became of a token.
enum Verified {
    Claims(Map<String, Value>),
    /// No key of that name and kind is there, and none without a name has signed it.
    NoKey,
    /// No key that is there has signed it.
    Forged,
}

impl Jwt {
    /// Tokens that the private parts of the public keys in this file have signed.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn with_keys(file: &[u8], claims: Claims) -> Result<Jwt, String> {
        Ok(Jwt::new(Source::Known(keys::from_file(file)?), claims))
    }

    /// Tokens that were signed with the secret in this file.
    ///
    /// # Errors
    /// The secret is too short.
    pub fn with_secret(file: &[u8], claims: Claims) -> Result<Jwt, String> {
        Ok(Jwt::new(Source::Known(keys::from_secret(file)?), claims))
    }

    /// Tokens whose keys this service publishes.
    pub fn with_service(service: Asked, claims: Claims) -> Jwt {
        Jwt::new(Source::Fetched(service), claims)
    }

    fn new(source: Source, claims: Claims) -> Jwt {
        verifier::install();
        let Claims { audience, issuer, skew_seconds, grants, user } = claims;
        Jwt { source, audience, issuer, skew_seconds, claim: grants, user_claim: user }
    }

    pub(super) fn begin(&self, question: &Question, now: &mut Now<'_>) -> Move {
        let Some((token, header)) = self.mine(question) else { return Move::NotMine };
        let service = match &self.source {
            Source::Known(keys) => return self.decide(question, verify(token, &header, keys), now.wall),
            Source::Fetched(service) => service,
        };
        let set = now.keys.sets.entry(service.id).or_default();
        let may_fetch =
            now.wall.abs_diff(set.tried) >= REFETCH_SECONDS_MIN || (set.fetched.is_none() && !set.failed);
        if may_fetch && !set.is_younger_than(FRESH_SECONDS, now.wall) {
            return set.fetch(service, now.wall);
        }
        if !set.is_younger_than(STALE_SECONDS_MAX, now.wall) {
            return Move::unavailable("The issuer of keys does not answer.");
        }
        let verified = verify(token, &header, &set.keys);
        if may_fetch && matches!(verified, Verified::NoKey) {
            return set.fetch(service, now.wall);
        }
        self.decide(question, verified, now.wall)
    }

    /// The issuer's keys, or why there are none.
    pub(super) fn answer(&self, question: &Question, reply: &Answer, now: &mut Now<'_>) -> Move {
        let (Source::Fetched(service), Some((token, header))) = (&self.source, self.mine(question)) else {
            return Move::NotMine;
        };
        let set = now.keys.sets.entry(service.id).or_default();
        let trouble = match good(reply, "The issuer of keys").and_then(keys::from_set) {
            Ok(keys) => {
                set.keys = keys;
                set.fetched = Some(now.wall);
                None
            }
            Err(trouble) => Some(trouble),
        };
        set.failed = trouble.is_some();
        match (verify(token, &header, &set.keys), trouble) {
            (verified, None) => self.decide(question, verified, now.wall),
            // The keys of before are good for a while.
            (Verified::Claims(claims), Some(_)) if set.is_younger_than(STALE_SECONDS_MAX, now.wall) => {
                self.decide(question, Verified::Claims(claims), now.wall)
            }
            (_, Some(trouble)) => Move::unavailable(trouble),
        }
    }

    /// The token and what its header says, if it is a signed token, and of this issuer.
    fn mine<'q>(&self, question: &'q Question) -> Option<(&'q str, Header)> {
        let Token::Text(token) = &question.token else { return None };
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, _] = parts[..] else { return None };
        let read = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&read(header)?).ok()?;
        if let Some(issuer) = &self.issuer {
            // Only whose token it says it is; whether that is true, the signature tells.
            let claims: Map<String, Value> = serde_json::from_slice(&read(claims)?).ok()?;
            if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
                return None;
            }
        }
        Some((token, header))
    }

    fn decide(&self, question: &Question, verified: Verified, wall: UnixSeconds) -> Move {
        let verdict = match verified {
            Verified::Claims(claims) => match self.grant(question, &claims, wall) {
                Ok(verdict) => verdict,
                Err(text) => Verdict::Refused(text.to_owned()),
            },
            Verified::NoKey => {
                let if_new = match &self.source {
                    Source::Known(_) => "",
                    Source::Fetched(_) => " If the key is new, try again in some seconds.",
                };
                Verdict::Refused(format!("The token is signed with a key that is not known here.{if_new}"))
            }
            Verified::Forged => Verdict::Refused("The token's signature is wrong.".to_owned()),
        };
        Move::Decided(verdict)
    }

    /// What claims that are surely the issuer's lead to.
    fn grant(
        &self,
        question: &Question,
        claims: &Map<String, Value>,
        wall: UnixSeconds,
    ) -> Result<Verdict, &'static str> {
        let expires = match claims.get("exp") {
            Some(expires) => seconds(expires).ok_or("The token's expiry (exp) cannot be read.")?,
            None => return Err("The token has no expiry (exp), which it must have."),
        };
        let expires = expires.saturating_add(self.skew_seconds);
        if wall >= expires {
            return Err("The token has expired.");
        }
        if let Some(begins) = claims.get("nbf") {
            let begins = seconds(begins).ok_or("When the token begins (nbf) cannot be read.")?;
            if wall.saturating_add(self.skew_seconds) < begins {
                return Err("The token is not valid yet.");
            }
        }
        let audience = claims.get("aud").unwrap_or(&Value::Null);
        let is_meant = |value: &Value| value.as_str() == Some(&self.audience);
        if !is_meant(audience) && !audience.as_array().is_some_and(|all| all.iter().any(is_meant)) {
            return Err("The token is meant for somebody else (aud).");
        }
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err("The token is of another issuer (iss).");
        }
        let user = claims.get(&self.user_claim).and_then(Value::as_str).unwrap_or_default();
        if user.is_empty() || one_line(user) != user || user.len() > tokens::USER_BYTES_MAX {
            return Err("The token does not say whose it is.");
        }
        let grants =
            read_grants(claims.get(&self.claim)).ok_or("What the token may enter cannot be read.")?;
        let grant = Grant { expires: Some(expires), recheck: Recheck::Never, ..Grant::new(user) };
        Ok(grant.within(&grants, question))
    }
}

impl Set {
    fn is_younger_than(&self, seconds: u64, wall: UnixSeconds) -> bool {
        self.fetched.is_some_and(|fetched| wall.abs_diff(fetched) < seconds)
    }

    fn fetch(&mut self, service: &Asked, wall: UnixSeconds) -> Move {
        self.tried = wall;
        Move::Ask { service: service.id, request: service.service.get("", &[]), stage: Stage::Only }
    }
}

/// What is read of a token's header before its key is known (RFC 7515, 4.1).
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// What must be understood; nothing of that kind is.
    #[serde(default)]
    crit: Option<Value>,
}

/// Looks for the key that has signed it: the one of its name, or those without one; of its algorithm in any case. A token
/// is surely forged where it names a key that is there, or an algorithm that is none; otherwise its key may be a new one.
fn verify(token: &str, header: &Header, keys: &[Key]) -> Verified {
    let algorithm = match header.alg.as_str() {
        "RS256" => Algorithm::RS256,
        "ES256" => Algorithm::ES256,
        "EdDSA" => Algorithm::EdDSA,
        "HS256" => Algorithm::HS256,
        // `none` above all.
        _ => return Verified::Forged,
    };
    if header.crit.is_some() {
        return Verified::Forged;
    }
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    // The library has a clock of its own; here the time is an argument.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let fits = |key: &&Key| {
        key.algorithm == algorithm && (header.kid.is_none() || key.id.is_none() || key.id == header.kid)
    };
    let mut is_named = algorithm == Algorithm::HS256;
    for key in keys.iter().filter(fits) {
        if let Ok(token) = decode::<Map<String, Value>>(token, &key.key, &validation) {
            return Verified::Claims(token.claims);
        }
        is_named |= key.id.is_some() && key.id == header.kid;
    }
    if is_named { Verified::Forged } else { Verified::NoKey }
}

/// A NumericDate (RFC 7519, 2): seconds, perhaps with a fraction.
fn seconds(value: &Value) -> Option<UnixSeconds> {
    if let Some(seconds) = value.as_u64() {
        return Some(seconds);
    }
    // Beyond 2^53 a fraction says nothing any more.
    let seconds = value.as_f64().filter(|seconds| (0.0..9e15).contains(seconds))?;
    format!("{:.0}", seconds.floor()).parse().ok()
}

fn read_grants(claim: Option<&Value>) -> Option<Grants> {
    let mut grants = Grants::default();
    for (word, patterns) in claim?.as_object()? {
        let right = if word == "record" { None } else { Some(Right::named(word)?) };
        for pattern in patterns.as_array()? {
            let pattern = pattern.as_str()?;
            match right {
                Some(right) => grants.add(right, pattern).ok()?,
                None => grants.add_recorded(pattern).ok()?,
            }
        }
    }
    Some(grants)
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "what a test does not expect ends it")]
mod tests;
