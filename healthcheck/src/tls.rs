//! TLS towards servers: what is trusted, what is shown, and what a failed handshake means.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, RootCertStore,
    SignatureScheme,
};
use serde::{Serialize, Serializer};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::deadline::Limits;
use crate::outcome::{CertificateExpiry, Reason, Step, TlsFault};

/// The TLS side of a check, made once and shared by all checks with the same settings.
///
/// Holds no session: each attempt is a full handshake, so that it tests what a new client meets.
#[derive(Clone)]
pub struct Tls {
    settings: Arc<TlsSettings>,
    config: Arc<ClientConfig>,
    /// The same without SNI.
    silent: Arc<ClientConfig>,
}

/// What a [`Tls`] is made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    pub trust: Trust,
    /// Certificate chain and key shown to servers that ask (`SSL` block).
    pub identity: Option<Identity>,
    /// Protocols offered, best first; none offers no ALPN at all, as keepalived.
    pub protocols: Vec<Application>,
}

/// Whose certificates are good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Anybody's: encryption is tested, identity is not (keepalived).
    Anyone,
    /// Those that one of these authorities signed for the wanted name.
    Authorities(Arc<[CertificateDer<'static>]>),
}

/// A protocol named in ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Application {
    Http11,
    Http2,
}

impl Application {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Http11 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// A client certificate with its private key.
#[derive(Clone)]
pub struct Identity {
    pub chain: Arc<[CertificateDer<'static>]>,
    pub key: Arc<PrivateKeyDer<'static>>,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain
            && (Arc::ptr_eq(&self.key, &other.key) || self.key.secret_der() == other.key.secret_der())
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.chain.hash(state);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Why no [`Tls`] can be made from its settings.
#[derive(Debug, Error)]
pub enum TlsUnusable {
    #[error("an authority's certificate is not usable")]
    Authority(#[source] RustlsError),
    #[error("there is no authority to trust")]
    NoAuthority,
    #[error("the client certificate does not fit its key")]
    Identity(#[source] RustlsError),
    #[error("TLS cannot be set up")]
    Setup(#[source] RustlsError),
}

impl Tls {
    /// # Errors
    /// Certificates or keys that cannot be used.
    pub fn new(settings: TlsSettings) -> Result<Self, TlsUnusable> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsUnusable::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(verifier(&settings.trust, provider)?);
        let mut config = match &settings.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.to_vec(), identity.key.clone_key())
                .map_err(TlsUnusable::Identity)?,
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = settings.protocols.iter().map(|p| p.name().to_vec()).collect();
        let mut silent = config.clone();
        silent.enable_sni = false;
        Ok(Self { settings: Arc::new(settings), config: Arc::new(config), silent: Arc::new(silent) })
    }

    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// Makes the handshake. `name` is what the certificate has to be for, and with `sni` what the server is told.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        name: &str,
        sni: Sni,
        limits: &Limits,
    ) -> Result<TlsStream<TcpStream>, Reason> {
        // The request follows the end of the handshake, which nobody answers. Without this it is only later.
        stream.set_nodelay(true).ok();
        let server_name = server_name(name);
        let config = match (sni, &server_name) {
            (Sni::Tell, ServerName::DnsName(_)) => Arc::clone(&self.config),
            // An address or a name that DNS cannot have is never sent.
            _ => Arc::clone(&self.silent),
        };
        let handshake = TlsConnector::from(config).connect(server_name, stream);
        let done = limits.step(Step::TlsHandshake, handshake).await?;
        done.map_err(|error| handshake_failure(name, &error))
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.settings, &other.settings) || self.settings == other.settings
    }
}

impl Eq for Tls {}

impl Hash for Tls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.settings.hash(state);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Serialize for Tls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self.settings.trust {
            Trust::Anyone => "unverified",
            Trust::Authorities(_) => "verified",
        })
    }
}

/// Whether the server is told the name that is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sni {
    Tell,
    Hide,
}

/// `name` as a certificate has it: a DNS name or an address. Anything else stands for no name that exists.
fn server_name(name: &str) -> ServerName<'static> {
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return ServerName::IpAddress(address.into());
    }
    ServerName::try_from(bare.to_owned())
        .unwrap_or_else(|_| ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into()))
}

/// When the server's certificate ends, if it can be read.
pub(crate) fn expiry(stream: &TlsStream<TcpStream>) -> Option<CertificateExpiry> {
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates()?.first()?;
    let certificate = Certificate::from_der(shown).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Some(CertificateExpiry { not_after: SystemTime::UNIX_EPOCH + end })
}

fn verifier(
    trust: &Trust,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsUnusable> {
    let Trust::Authorities(authorities) = trust else {
        return Ok(Arc::new(AcceptAnyone(provider)));
    };
    let mut roots = RootCertStore::empty();
    for authority in authorities.iter() {
        roots.add(authority.clone()).map_err(TlsUnusable::Authority)?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(verifier.map_err(|_no_roots_or_lists| TlsUnusable::NoAuthority)?)
}

/// Takes every certificate, also one that no library can read: the check then tests that somebody speaks TLS.
#[derive(Debug)]
struct AcceptAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What ended a handshake: the connection, or TLS itself.
fn handshake_failure(name: &str, error: &io::Error) -> Reason {
    match error.get_ref().and_then(|e| e.downcast_ref::<RustlsError>()) {
        Some(error) => Reason::Tls(fault(name, error)),
        None => Reason::of_io(Step::TlsHandshake, error),
    }
}

pub(crate) fn fault(name: &str, error: &RustlsError) -> TlsFault {
    use CertificateError as Bad;
    match error {
        RustlsError::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            TlsFault::CertificateExpired
        }
        RustlsError::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            TlsFault::CertificateNotYetValid
        }
        RustlsError::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            TlsFault::CertificateName { wanted: name.into() }
        }
        RustlsError::InvalidCertificate(Bad::UnknownIssuer) => TlsFault::UnknownIssuer,
        RustlsError::InvalidCertificate(bad) => TlsFault::Certificate(bad.to_string().into()),
        RustlsError::AlertReceived(alert) => TlsFault::Alert(format!("{alert:?}").into()),
        RustlsError::InvalidMessage(_) => TlsFault::NotTls,
        other => TlsFault::Protocol(other.to_string().into()),
    }
}
