//! A connection of a probe, in the clear or over TLS. Whose certificate it is nobody asks, as with
//! the kubelet: what is probed is whether the pod answers. Errors are in the words of Go's client.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, InvalidMessage,
    SignatureScheme, StreamOwned,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection.
pub enum Connection {
    /// TCP.
    Plain(TcpStream),
    /// TLS over it.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    /// Starts TLS on a connection to `authority`; the handshake happens with the first bytes.
    pub fn tls(stream: TcpStream, authority: &str) -> Result<Self, String> {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        let client = ClientConnection::new(Arc::new(config), name).map_err(|it| it.to_string())?;
        Ok(Self::Tls(Box::new(StreamOwned::new(client, stream))))
    }

    /// The connection below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Sends all of `bytes`, within `timeout`.
    pub fn send(&mut self, bytes: &[u8], timeout: Duration) -> std::io::Result<()> {
        self.tcp().set_write_timeout(Some(timeout))?;
        // The handshake reads too.
        self.tcp().set_read_timeout(Some(timeout))?;
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Waits for bytes, no longer than `timeout`; 0 at the end.
    pub fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> std::io::Result<usize> {
        self.tcp().set_read_timeout(Some(timeout))?;
        loop {
            let read = match self {
                Self::Plain(stream) => stream.read(buffer),
                Self::Tls(stream) => stream.read(buffer),
            };
            match read {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Closed without TLS's goodbye, as many servers do.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
        }
    }
}

/// What TLS failed of, as Go says it.
pub fn tls_words(error: &std::io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "http: server gave HTTP response to HTTPS client".into()
        }
        Error::AlertReceived(alert) => format!("remote error: tls: {alert:?}"),
        Error::InvalidCertificate(CertificateError::Other(_)) => "tls: bad certificate".into(),
        error => format!("tls: {error}"),
    })
}

/// Opens a TCP connection; an error reads as Go's.
pub fn connect(authority: &str, deadline: Instant) -> Result<TcpStream, String> {
    let address = resolve(authority)?;
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(format!("dial tcp {address}: i/o timeout"));
    }
    TcpStream::connect_timeout(&address, left).map_err(|error| match error.kind() {
        ErrorKind::TimedOut if error.raw_os_error().is_none() => {
            format!("dial tcp {address}: i/o timeout")
        }
        _ => format!("dial tcp {address}: connect: {}", words(&error)),
    })
}

/// Names are not looked up: what a pod's probe asks is the pod.
fn resolve(authority: &str) -> Result<SocketAddr, String> {
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let unknown = || format!("dial tcp: lookup {host}: no such host");
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => host.parse().map_err(|_| unknown())?,
    };
    Ok(SocketAddr::new(ip, port.parse().map_err(|_| unknown())?))
}

/// As Go names an error number: without a capital.
pub fn words(error: &std::io::Error) -> String {
    let text = match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    };
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}

/// Takes any certificate.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
