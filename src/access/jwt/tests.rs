use super::super::tests::{asked, kind, question, reply};
use super::super::{Rule, Rules, Step};
use super::*;
use ::ring::hmac;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use std::sync::Arc;

const PUBLIC: &str = include_str!("../../../tests/keys/public.pem");
const PRIVATE: &str = include_str!("../../../tests/keys/private.pem");
const SECRET: &[u8] = b"a secret that is long enough for HS256";
const NOW: UnixSeconds = 1_800_000_000;

/// A token with this header and these claims, signed as `how` says.
fn signed(how: &str, header: &Value, claims: &Value) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let keys: Vec<_> = PrivatePkcs8KeyDer::pem_slice_iter(PRIVATE.as_bytes()).map(Result::unwrap).collect();
    let bytes = message.as_bytes();
    let sign = |number: usize, scheme| {
        let key = any_supported_type(&keys[number].clone_key().into()).unwrap();
        key.choose_scheme(&[scheme]).unwrap().sign(bytes).unwrap()
    };
    let signature = match how {
        "RS256" => sign(0, SignatureScheme::RSA_PKCS1_SHA256),
        "ES256" => fixed(&sign(1, SignatureScheme::ECDSA_NISTP256_SHA256)),
        "EdDSA" => sign(2, SignatureScheme::ED25519),
        "HS256" => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), bytes).as_ref().to_vec(),
        // The classic: the public key, which everybody has, as the secret.
        "HS256 with the public key" => {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, PUBLIC.as_bytes()), bytes).as_ref().to_vec()
        }
        "unsigned" => Vec::new(),
        other => panic!("{other}"),
    };
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Both numbers of an ECDSA signature in 32 bytes each (RFC 7518, 3.4), out of the DER that TLS has of them.
fn fixed(der: &[u8]) -> Vec<u8> {
    let (first, second) = der[4..].split_at(usize::from(der[3]));
    let number = |bytes: &[u8]| {
        let digits = &bytes[bytes.len().saturating_sub(32)..];
        [&[0; 32][digits.len()..], digits].concat()
    };
    [number(first), number(&second[2..])].concat()
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": "entry", "sub": "ada", "exp": NOW + 600,
        "entry": {"enter": ["shop/*"], "attach": ["*/*"], "exec": []},
    })
}

fn demanded() -> Claims {
    Claims {
        audience: "entry".to_owned(),
        issuer: Some("https://id.example".to_owned()),
        skew_seconds: SKEW_SECONDS,
        grants: CLAIM.to_owned(),
        user: "sub".to_owned(),
    }
}

fn asks(token: String) -> Question {
    Question { token: Token::Text(token), ..question() }
}

fn verdict(rules: &Rules, question: &Question, wall: UnixSeconds) -> Verdict {
    let mut keys = Fetched::default();
    match rules.begin(question, &mut Now { wall, keys: &mut keys }).1 {
        Step::Decided(verdict) => verdict,
        Step::Ask { .. } => panic!("nothing is to be asked"),
    }
}

fn with_public_keys() -> Rules {
    Rules::new(vec![Rule::Jwt(Arc::new(Jwt::with_keys(PUBLIC.as_bytes(), demanded()).unwrap()))])
}

#[test]
fn each_algorithm_lets_its_own_signatures_in() {
    for algorithm in ["RS256", "ES256", "EdDSA", "HS256"] {
        let rules = match algorithm {
            "HS256" => Rules::new(vec![Rule::Jwt(Arc::new(Jwt::with_secret(SECRET, demanded()).unwrap()))]),
            _ => with_public_keys(),
        };
        let token = signed(algorithm, &json!({"alg": algorithm, "typ": "JWT"}), &claims());
        match verdict(&rules, &asks(token.clone()), NOW) {
            Verdict::Allowed(grant) => {
                assert_eq!((grant.user.as_str(), grant.expires), ("ada", Some(NOW + 600 + SKEW_SECONDS)));
            }
            other => panic!("{algorithm}: {other:?}"),
        }
        // Any changed bit of any part ends it.
        for at in (0..token.len()).step_by(7) {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'Q' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            if forged != token {
                let verdict = verdict(&rules, &asks(forged), NOW);
                assert!(matches!(verdict, Verdict::Refused(_)), "{algorithm} {at}: {verdict:?}");
            }
        }
    }
}

#[test]
fn no_algorithm_is_taken_for_another() {
    let table = [
        ("unsigned", json!({"alg": "none"})),
        ("unsigned", json!({"alg": "None"})),
        ("unsigned", json!({"alg": ""})),
        ("unsigned", json!({"alg": "HS256"})),
        ("unsigned", json!({"alg": "RS256"})),
        ("HS256 with the public key", json!({"alg": "HS256"})),
        ("HS256 with the public key", json!({"alg": "RS256"})),
        ("HS256", json!({"alg": "HS256"})),
        ("RS256", json!({"alg": "ES256"})),
        ("RS256", json!({"alg": "PS256"})),
        ("RS256", json!({"alg": "RS512"})),
        ("EdDSA", json!({"alg": "ES256"})),
        ("ES256", json!({"alg": "ES256", "crit": ["exp"]})),
        // The token's own key is no proof of anything.
        ("HS256", json!({"alg": "HS256", "jwk": {"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)}})),
    ];
    for (how, header) in table {
        let verdict = verdict(&with_public_keys(), &asks(signed(how, &header, &claims())), NOW);
        assert!(
            matches!(&verdict, Verdict::Refused(text) if text.contains("signed") || text.contains("signature")),
            "{how} {header}: {verdict:?}"
        );
    }
    let rules = Rules::new(vec![Rule::Jwt(Arc::new(Jwt::with_secret(SECRET, demanded()).unwrap()))]);
    for how in ["RS256", "ES256", "EdDSA"] {
        let verdict = verdict(&rules, &asks(signed(how, &json!({"alg": how}), &claims())), NOW);
        assert!(matches!(verdict, Verdict::Refused(_)), "{how}: {verdict:?}");
    }
}

#[test]
fn claims_are_held_to_the_rule() {
    let table = [
        ("exp", json!(NOW - SKEW_SECONDS + 1), "allowed"),
        ("exp", json!(NOW - SKEW_SECONDS), "The token has expired."),
        ("exp", json!(NOW as f64 + 0.5), "allowed"),
        ("exp", json!((NOW + 60).to_string()), "cannot be read"),
        ("exp", json!(-1), "cannot be read"),
        ("exp", Value::Null, "cannot be read"),
        ("nbf", json!(NOW + SKEW_SECONDS), "allowed"),
        ("nbf", json!(NOW + SKEW_SECONDS + 1), "not valid yet"),
        ("nbf", json!("tomorrow"), "cannot be read"),
        ("aud", json!(["other", "entry"]), "allowed"),
        ("aud", json!("entry2"), "somebody else"),
        ("aud", json!([]), "somebody else"),
        ("aud", Value::Null, "somebody else"),
        ("aud", json!({"entry": "entry"}), "somebody else"),
        ("sub", json!(""), "whose it is"),
        ("sub", json!(7), "whose it is"),
        ("sub", json!("a\nb"), "whose it is"),
        ("entry", json!({"enter": ["shop/web"]}), "allowed"),
        ("entry", json!({"enter": ["other/*"]}), "not for a shell in shop/web"),
        ("entry", json!({"exec": ["shop/web"]}), "not for a shell in shop/web"),
        ("entry", json!({}), "not for a shell"),
        ("entry", Value::Null, "cannot be read"),
        ("entry", json!(["shop/*"]), "cannot be read"),
        ("entry", json!({"enter": "shop/*"}), "cannot be read"),
        ("entry", json!({"enter": ["shop"]}), "cannot be read"),
        ("entry", json!({"enter": ["shop/*"], "everything": []}), "cannot be read"),
    ];
    for (name, value, expected) in table {
        let mut claims = claims();
        claims[name] = value.clone();
        let token = signed("EdDSA", &json!({"alg": "EdDSA"}), &claims);
        match verdict(&with_public_keys(), &asks(token), NOW) {
            Verdict::Allowed(_) => assert_eq!(expected, "allowed", "{name} {value}"),
            Verdict::Refused(text) => assert!(text.contains(expected), "{name} {value}: {text}"),
            other => panic!("{name} {value}: {other:?}"),
        }
    }
    let mut without = claims();
    without.as_object_mut().unwrap().remove("exp");
    let token = signed("EdDSA", &json!({"alg": "EdDSA"}), &without);
    assert!(
        matches!(verdict(&with_public_keys(), &asks(token), NOW), Verdict::Refused(text) if text.contains("no expiry"))
    );
}

#[test]
fn what_is_no_token_of_the_issuer_is_left_to_the_next_rule() {
    let mut other = claims();
    other["iss"] = json!("https://elsewhere.example");
    let header = URL_SAFE_NO_PAD.encode("{\"alg\":\"RS256\"}");
    let table = [
        String::new(),
        "entry_x".to_owned(),
        "a.b.c".to_owned(),
        format!("{header}.x"),
        format!("{header}.x.y.z"),
        format!("{header}..."),
        signed("EdDSA", &json!({"alg": "EdDSA"}), &other),
        format!("{header}.{}.x", "A".repeat(TOKEN_BYTES_MAX)),
    ];
    let Rule::Jwt(jwt) = with_public_keys().rules.remove(0) else { panic!() };
    for token in table {
        let mut keys = Fetched::default();
        let next = jwt.begin(&asks(token.clone()), &mut Now { wall: NOW, keys: &mut keys });
        assert!(matches!(next, Move::NotMine), "{token}");
    }
}

/// The set of keys that an issuer publishes, under this name.
fn published(id: &str) -> String {
    let keys = keys::from_file(PUBLIC.as_bytes()).unwrap();
    let ed = keys.iter().find(|key| key.algorithm == Algorithm::EdDSA).unwrap();
    let x = URL_SAFE_NO_PAD.encode(ed.key.try_get_as_bytes().unwrap());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": id, "x": x}]}).to_string()
}

fn with_service() -> Rules {
    let service = asked(4, "http://id.example/jwks.json?v=2");
    Rules::new(vec![Rule::Jwt(Arc::new(Jwt::with_service(service, demanded())))])
}

fn named(id: &str) -> Question {
    let mut claims = claims();
    claims["exp"] = json!(NOW + 100_000);
    asks(signed("EdDSA", &json!({"alg": "EdDSA", "kid": id}), &claims))
}

#[test]
fn keys_are_fetched_when_they_are_needed_and_not_more_often() {
    let rules = with_service();
    let mut keys = Fetched::default();
    let mut at = |seconds: u64, id: &str, answers: &[Answer]| -> Vec<&'static str> {
        let mut now = Now { wall: NOW + seconds, keys: &mut keys };
        let question = named(id);
        let (mut inquiry, mut step) = rules.begin(&question, &mut now);
        let mut told = vec![kind(&step)];
        for answer in answers {
            if let Step::Ask { service, request } = &step {
                let text = String::from_utf8(request.clone()).unwrap();
                assert!(
                    *service == ServiceId(4)
                        && text.starts_with("GET /jwks.json?v=2 HTTP/1.1\r\nHost: id.example\r\n"),
                    "{text}"
                );
            }
            step = inquiry.answer(&rules, &question, answer, &mut now);
            told.push(kind(&step));
        }
        told
    };
    let down = || Err("gone".to_owned());
    let began = 100;
    let mut at = |seconds: u64, id: &str, answers: &[Answer]| at(began + seconds, id, answers);
    assert_eq!(at(0, "a", &[down()]), ["ask", "unavailable"]);
    // An issuer in trouble is left alone for a while, whoever comes.
    for second in 0..REFETCH_SECONDS_MIN {
        assert_eq!(at(second, "a", &[]), ["unavailable"]);
    }
    assert_eq!(at(10, "a", &[reply(500, &published("a"))]), ["ask", "unavailable"]);
    assert_eq!(at(20, "a", &[reply(200, "rubbish")]), ["ask", "unavailable"]);
    assert_eq!(at(29, "a", &[]), ["unavailable"]);
    assert_eq!(at(30, "a", &[reply(200, &published("a"))]), ["ask", "allowed"]);
    let mut at = |seconds: u64, id: &str, answers: &[Answer]| at(30 + seconds, id, answers);
    // Known for a while; a key of another name makes them be fetched, but not at once and not again and again.
    assert_eq!(at(1, "a", &[]), ["allowed"]);
    assert_eq!(at(1, "b", &[]), ["refused"]);
    assert_eq!(at(60, "b", &[reply(200, &published("a"))]), ["ask", "refused"]);
    assert_eq!(at(61, "b", &[]), ["refused"]);
    assert_eq!(at(70, "b", &[reply(200, &published("b"))]), ["ask", "allowed"]);
    assert_eq!(at(71, "a", &[]), ["refused"]);
    // They become old; while the issuer is away they serve on for a time.
    assert_eq!(at(70 + FRESH_SECONDS, "b", &[down()]), ["ask", "allowed"]);
    assert_eq!(at(71 + FRESH_SECONDS, "b", &[]), ["allowed"]);
    assert_eq!(at(69 + STALE_SECONDS_MAX, "b", &[reply(503, "")]), ["ask", "allowed"]);
    assert_eq!(at(90 + STALE_SECONDS_MAX, "b", &[down()]), ["ask", "unavailable"]);
    assert_eq!(at(90 + STALE_SECONDS_MAX, "c", &[]), ["unavailable"]);
}

#[test]
fn those_who_come_during_the_first_fetch_ask_too() {
    let rules = with_service();
    let mut keys = Fetched::default();
    let mut now = Now { wall: NOW, keys: &mut keys };
    let question = named("a");
    let (mut first, step) = rules.begin(&question, &mut now);
    assert_eq!(kind(&step), "ask");
    let (mut second, step) = rules.begin(&question, &mut now);
    assert_eq!(kind(&step), "ask");
    let answer = reply(200, &published("a"));
    for inquiry in [&mut first, &mut second] {
        assert_eq!(kind(&inquiry.answer(&rules, &question, &answer, &mut now)), "allowed");
    }
}

#[test]
fn a_token_that_may_be_of_a_new_key_makes_them_be_fetched() {
    let token = |how: &str, header: Value| {
        let mut claims = claims();
        claims["exp"] = json!(NOW + 100_000);
        asks(signed(how, &header, &claims))
    };
    let forged = |header: Value| {
        let mut question = token("EdDSA", header);
        let Token::Text(text) = &mut question.token else { panic!() };
        text.truncate(text.len() - 8);
        text.push_str("AAAAAAAA");
        question
    };
    let nameless = published("a").replace("\"kid\":\"a\",", "");
    let (of_a, of_nobody) = (published("a"), nameless.as_str());
    // What the issuer publishes, the token, whether it makes the keys be fetched anew.
    let table = [
        (of_a.as_str(), token("ES256", json!({"alg": "ES256", "kid": "a"})), true),
        (&of_a, forged(json!({"alg": "EdDSA"})), true),
        (&of_a, forged(json!({"alg": "EdDSA", "kid": "b"})), true),
        (of_nobody, forged(json!({"alg": "EdDSA", "kid": "b"})), true),
        (of_nobody, forged(json!({"alg": "EdDSA"})), true),
        (&of_a, forged(json!({"alg": "EdDSA", "kid": "a"})), false),
        (&of_a, token("EdDSA", json!({"alg": "none"})), false),
        (&of_a, token("HS256", json!({"alg": "HS256"})), false),
        (&of_a, token("HS256", json!({"alg": "HS256", "kid": "b"})), false),
        (&of_a, token("EdDSA", json!({"alg": "EdDSA", "kid": "b", "crit": ["exp"]})), false),
    ];
    for (set, question, is_fetched) in table {
        let rules = with_service();
        let mut keys = Fetched::default();
        let mut at = |seconds: u64| {
            let mut now = Now { wall: NOW + seconds, keys: &mut keys };
            let (mut inquiry, mut step) = rules.begin(&question, &mut now);
            let mut told = vec![kind(&step)];
            if matches!(step, Step::Ask { .. }) {
                step = inquiry.answer(&rules, &question, &reply(200, set), &mut now);
                told.push(kind(&step));
            }
            told
        };
        let again: &[&str] = if is_fetched { &["ask", "refused"] } else { &["refused"] };
        assert_eq!(at(0), ["ask", "refused"], "{question:?}");
        // However many come, and whatever they say.
        for _ in 0..100 {
            assert_eq!(at(REFETCH_SECONDS_MIN - 1), ["refused"], "{question:?}");
        }
        assert_eq!(at(REFETCH_SECONDS_MIN), again, "{question:?}");
        assert_eq!(at(REFETCH_SECONDS_MIN), ["refused"], "{question:?}");
    }
}

#[test]
fn nothing_shows_a_key() {
    let text = format!("{:?}", Jwt::with_secret(SECRET, demanded()).unwrap());
    assert!(
        !text.contains("secret that")
            && !text.contains(&format!("{:?}", &SECRET[..4]).replace(['[', ']'], "")),
        "{text}"
    );
}
