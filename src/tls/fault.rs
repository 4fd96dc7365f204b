//! What goes wrong with TLS, in words that say what to do.

use crate::logging;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use std::fmt;
use std::sync::Arc;

/// Why TLS did not come about, or broke. Its `Display` speaks of the peer as "it", and names no secret.
#[derive(Debug, Clone)]
pub struct Fault {
    kind: Kind,
    /// What the one who connects may do about a certificate that nobody trusted has signed.
    advice: Option<Arc<str>>,
}

#[derive(Debug, Clone)]
enum Kind {
    Tls(Box<Error>),
    PlainHttp,
    CutOff,
    TooLong,
    Exhausted,
    Misused,
}

impl Fault {
    pub(super) fn plain_http() -> Fault {
        Kind::PlainHttp.into()
    }

    pub(super) fn cut_off() -> Fault {
        Kind::CutOff.into()
    }

    pub(super) fn too_long() -> Fault {
        Kind::TooLong.into()
    }

    pub(super) fn exhausted() -> Fault {
        Kind::Exhausted.into()
    }

    pub(super) fn misused() -> Fault {
        Kind::Misused.into()
    }

    /// The same, with what may be done about an authority that is not trusted.
    pub(super) fn advised(self, advice: Option<Arc<str>>) -> Fault {
        Fault { advice, ..self }
    }
}

impl From<Kind> for Fault {
    fn from(kind: Kind) -> Fault {
        Fault { kind, advice: None }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Kind::Tls(Box::new(error)).into()
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::PlainHttp => f.write_str("it speaks plain HTTP there, not TLS"),
            Kind::CutOff => {
                f.write_str("it ended the connection within the TLS handshake; does it speak TLS there?")
            }
            Kind::TooLong => f.write_str("it sent more at once than TLS allows"),
            Kind::Exhausted => f.write_str("its TLS keys have sealed all that they may"),
            Kind::Misused => f.write_str("TLS is in a state that Entry does not know"),
            Kind::Tls(error) => tell(f, error, self.advice.as_deref()),
        }
    }
}

fn tell(f: &mut fmt::Formatter<'_>, error: &Error, advice: Option<&str>) -> fmt::Result {
    if let Error::InvalidCertificate(error) = error {
        return tell_certificate(f, error, advice);
    }
    if let Error::AlertReceived(alert) = error {
        return tell_alert(f, *alert);
    }
    let no_tls = [
        InvalidMessage::InvalidContentType,
        InvalidMessage::UnknownProtocolVersion,
        InvalidMessage::MessageTooLarge,
        InvalidMessage::InvalidEmptyPayload,
    ];
    if matches!(error, Error::InvalidMessage(message) if no_tls.contains(message)) {
        f.write_str("it does not speak TLS there")
    } else {
        write!(f, "TLS with it failed: {error}")
    }
}

fn tell_certificate(
    f: &mut fmt::Formatter<'_>,
    error: &CertificateError,
    advice: Option<&str>,
) -> fmt::Result {
    let day = |time: &UnixTime| logging::utc_day(time.as_secs());
    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls may learn more, and has words for all")]
    match error {
        // An authority of the same name but with another key is another one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            f.write_str("its certificate is signed by no authority that is trusted here")?;
            advice.map_or(Ok(()), |advice| write!(f, "; {advice}"))
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            write!(f, "its certificate expired on {}", day(not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            write!(f, "its certificate begins on {} only; is this machine's clock right?", day(not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| plain_name(name)).collect();
            let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
            write!(f, "its certificate is for {names} and not for {}", expected.to_str())
        }
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            f.write_str("its certificate is not one for a server")
        }
        // Where one certificate is known, and no authority.
        CertificateError::ApplicationVerificationFailure => {
            f.write_str("its certificate is another one; a gateway reads a new one at SIGHUP")
        }
        other => write!(f, "its certificate is not accepted: {other}"),
    }
}

/// `DnsName("a.example")` and `IpAddress(10.0.0.1)`, as rustls writes them, without what is around the name.
fn plain_name(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"')
}

fn tell_alert(f: &mut fmt::Formatter<'_>, alert: AlertDescription) -> fmt::Result {
    #[expect(clippy::wildcard_enum_match_arm, reason = "there are dozens, and rustls has a name for each")]
    match alert {
        AlertDescription::CertificateRequired => {
            f.write_str("it demands a client certificate, and was given none")
        }
        // Servers of older Go say so for every reason.
        AlertDescription::BadCertificate => f.write_str(
            "it does not accept the certificate that it was given, or wants one and was given none (bad_certificate)",
        ),
        AlertDescription::UnknownCA
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => {
            write!(f, "it does not accept the certificate that it was given ({})", name(alert))
        }
        AlertDescription::CertificateExpired => {
            f.write_str("it says that the client certificate has expired")
        }
        AlertDescription::CertificateRevoked => f.write_str("it says that the client certificate is revoked"),
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity => {
            write!(
                f,
                "it and Entry have no version or cipher of TLS in common ({}), or it demands a client certificate",
                name(alert)
            )
        }
        other => write!(f, "it refused TLS ({})", name(other)),
    }
}

/// `BadCertificate` as the standard writes it: `bad_certificate`.
fn name(alert: AlertDescription) -> String {
    let name = alert.as_str().unwrap_or("an alert that has no name");
    let mut text = String::new();
    for (at, c) in name.char_indices() {
        if at > 0 && c.is_ascii_uppercase() && !text.ends_with(|c: char| c.is_ascii_uppercase() || c == ' ') {
            text.push('_');
        }
        text.push(c);
    }
    text.to_ascii_lowercase()
}
