//! How this host presents itself to servers over TLS, and whom it trusts: the `SSL` block.

use std::fmt;
use std::sync::Arc;

use buoy_healthcheck::checker::http::HttpVersion;
use buoy_healthcheck::{Application, Cause, Identity, Tls, TlsSettings, TlsUnusable, Trust};
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument, pkcs5};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::config::plan::ClientTls;

/// One for each set of protocols that is offered, or why there is none.
#[derive(Debug)]
pub(super) struct ClientConfigurations {
    /// Offers nothing, as keepalived.
    plain: Result<Tls, String>,
    /// HTTP/2, and HTTP/1.1 for those that do not have it.
    negotiating: Result<Tls, String>,
}

/// Why the `SSL` block cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SslUnusable {
    /// Which of its files is wrong, if it is one.
    pub file: Option<(SslWord, Arc<str>)>,
    pub why: String,
}

impl fmt::Display for SslUnusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`SSL`: ")?;
        if let Some((word, path)) = &self.file {
            write!(f, "{word} {path}: ")?;
        }
        f.write_str(&self.why)
    }
}

/// A word of the block that names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslWord {
    Ca,
    Certificate,
    Key,
}

impl fmt::Display for SslWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ca => "ca",
            Self::Certificate => "certificate",
            Self::Key => "key",
        })
    }
}

/// Whether TLS can be spoken as the block has it. Reads the files.
///
/// # Errors
/// One of them cannot be used.
pub fn try_out(settings: &ClientTls) -> Result<(), SslUnusable> {
    let (trust, identity) = read(settings)?;
    configuration(settings, trust, identity, &[]).map(drop)
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
            let (trust, identity) = read.clone().map_err(|unusable| unusable.to_string())?;
            let made = configuration(settings, trust, identity, protocols);
            made.map_err(|unusable| unusable.to_string())
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

fn configuration(
    settings: &ClientTls,
    trust: Trust,
    identity: Option<Identity>,
    protocols: &[Application],
) -> Result<Tls, SslUnusable> {
    let made = Tls::new(TlsSettings { trust, identity, protocols: protocols.to_vec() });
    made.map_err(|error| {
        let why = Cause::of(&error);
        match error {
            TlsUnusable::Authority(_) | TlsUnusable::NoAuthority => {
                let file = settings.ca.as_ref().map(|path| (SslWord::Ca, Arc::clone(path)));
                SslUnusable { file, why: why.to_string() }
            }
            TlsUnusable::Identity(_) => {
                let file = key_file(settings).map(|(word, path)| (word, Arc::clone(path)));
                let why = format!("{why}; a certificate is shown with the key that it was made for");
                SslUnusable { file, why }
            }
            TlsUnusable::Setup(_) => SslUnusable { file: None, why: why.to_string() },
        }
    })
}

/// Without a key of its own the file of the certificate has it.
fn key_file(settings: &ClientTls) -> Option<(SslWord, &Arc<str>)> {
    let certificate = settings.certificate.as_ref()?;
    Some(settings.key.as_ref().map_or((SslWord::Certificate, certificate), |key| (SslWord::Key, key)))
}

/// Authorities are asked only where some are configured: keepalived trusts everybody.
fn read(settings: &ClientTls) -> Result<(Trust, Option<Identity>), SslUnusable> {
    let trust = match &settings.ca {
        None => Trust::Anyone,
        Some(path) => Trust::Authorities(certificates(SslWord::Ca, path)?),
    };
    let (Some(certificate), Some((word, path))) = (&settings.certificate, key_file(settings)) else {
        return Ok((trust, None));
    };
    let chain = certificates(SslWord::Certificate, certificate)?;
    let password = settings.password.as_deref();
    let key = private_key(word, path, password).map_err(|why| unusable(word, path, why))?;
    Ok((trust, Some(Identity { chain, key: Arc::new(key) })))
}

fn certificates(word: SslWord, path: &Arc<str>) -> Result<Arc<[CertificateDer<'static>]>, SslUnusable> {
    let all = CertificateDer::pem_file_iter(&**path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| unusable(word, path, reason(&error)))?;
    if all.is_empty() {
        return Err(unusable(word, path, "no certificate in it, which has to be PEM".to_owned()));
    }
    Ok(all.into())
}

fn private_key(word: SslWord, path: &str, password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let file = std::fs::read(path).map_err(|error| crate::child::reason(&error))?;
    // What is not ASCII is no PEM.
    let text = String::from_utf8_lossy(&file);
    if let Some(sealed) = sealed_key(&text) {
        return opened(sealed, path, password);
    }
    if text.lines().any(|line| line.starts_with("Proc-Type:") && line.ends_with("ENCRYPTED")) {
        let why = "a password protects it in the traditional form of PEM, which cannot be read";
        return Err(format!("{why}: {}", convert(path)));
    }
    PrivateKeyDer::from_pem_slice(&file).map_err(|error| match error {
        pem::Error::NoItemsFound if word == SslWord::Certificate => {
            "no private key in it: name its file with `key`".to_owned()
        }
        pem::Error::NoItemsFound => "no private key in it, which has to be PEM".to_owned(),
        error => reason(&error),
    })
}

/// A key of PKCS #8 that a password protects.
fn sealed_key(text: &str) -> Option<&str> {
    const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    let (before, _) = text.split_once("-----BEGIN ENCRYPTED PRIVATE KEY-----")?;
    let from = text.get(before.len()..)?;
    from.get(..from.find(END)? + END.len())
}

fn opened(sealed: &str, path: &str, password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let (_, document) = SecretDocument::from_pem(sealed).map_err(|error| error.to_string())?;
    let password = password.ok_or("a password protects it: give it with `password`")?;
    let unknown =
        |error| format!("a password protects it in a way that is not known ({error}): {}", convert(path));
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(unknown)?;
    let key = info.decrypt(password).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_) => {
            "`password` does not open it".to_owned()
        }
        error => unknown(error),
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

fn convert(path: &str) -> String {
    format!("`openssl pkcs8 -topk8 -in {path} -out NEW` writes one that can be read")
}

fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => crate::child::reason(error),
        error => error.to_string(),
    }
}

fn unusable(word: SslWord, path: &Arc<str>, why: String) -> SslUnusable {
    SslUnusable { file: Some((word, Arc::clone(path))), why }
}
