//! How this host presents itself to servers over TLS, and whom it trusts: the `SSL` block.

use std::fmt::Display;
use std::sync::Arc;

use buoy_healthcheck::checker::http::HttpVersion;
use buoy_healthcheck::{Application, Cause, Identity, Tls, TlsSettings, Trust};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::plan::ClientTls;

/// One for each set of protocols that is offered, or why there is none.
#[derive(Debug)]
pub(super) struct ClientConfigurations {
    /// Offers nothing, as keepalived.
    plain: Result<Tls, String>,
    /// HTTP/2, and HTTP/1.1 for those that do not have it.
    negotiating: Result<Tls, String>,
}

impl ClientConfigurations {
    /// `None` when nobody will ask for one. Reads the files.
    pub(super) fn new(settings: Option<&ClientTls>) -> Self {
        let Some(settings) = settings else {
            let none = || Err("TLS was not prepared".to_owned());
            return Self { plain: none(), negotiating: none() };
        };
        let read = read(settings);
        let offering = |protocols: &[Application]| {
            let (trust, identity) = read.clone()?;
            let settings = TlsSettings { trust, identity, protocols: protocols.to_vec() };
            Tls::new(settings).map_err(|error| format!("`SSL`: {}", Cause::of(&error)))
        };
        Self { plain: offering(&[]), negotiating: offering(&[Application::Http2, Application::Http11]) }
    }

    /// HTTP/2 is an offer of those who speak HTTP/1.1.
    pub(super) fn get(&self, version: HttpVersion) -> Result<&Tls, String> {
        let made = match version {
            HttpVersion::Http10 | HttpVersion::Http10Close => &self.plain,
            HttpVersion::Http11 => &self.negotiating,
        };
        made.as_ref().map_err(String::clone)
    }
}

/// Authorities are asked only where some are configured: keepalived trusts everybody.
fn read(settings: &ClientTls) -> Result<(Trust, Option<Identity>), String> {
    let trust = match &settings.ca {
        None => Trust::Anyone,
        Some(path) => Trust::Authorities(certificates("ca", path)?),
    };
    let Some(certificate) = &settings.certificate else { return Ok((trust, None)) };
    let chain = certificates("certificate", certificate)?;
    // Without a key of its own the file of the certificate has it.
    let (word, path) = settings.key.as_ref().map_or(("certificate", certificate), |key| ("key", key));
    let key = PrivateKeyDer::from_pem_file(&**path).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let message = "no private key in it; one that a password protects cannot be read";
            unusable(word, path, message)
        }
        error => unusable(word, path, reason(&error)),
    })?;
    Ok((trust, Some(Identity { chain, key: Arc::new(key) })))
}

fn certificates(word: &str, path: &str) -> Result<Arc<[CertificateDer<'static>]>, String> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| unusable(word, path, reason(&error)))?;
    if all.is_empty() {
        return Err(unusable(word, path, "no certificate in it"));
    }
    Ok(all.into())
}

fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => crate::child::reason(error),
        error => error.to_string(),
    }
}

fn unusable(word: &str, path: &str, why: impl Display) -> String {
    format!("`SSL`: {word} {path}: {why}")
}
