//! Who is on the other side: TLS 1.3 with Ed25519 raw public keys (RFC 7250) in both directions, no certificates, no names.
//!
//! A dial names the key it expects and refuses any other; an accepted connection proves some key, which becomes the peer id.

use std::sync::Arc;

use ares_core::peer::PeerId;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use crate::identity::Identity;

/// What both sides must agree on before the first frame; a new, incompatible wire protocol takes a new name.
const ALPN: &[u8] = b"ares/1";

/// DER of an Ed25519 SubjectPublicKeyInfo up to the key itself (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The identity was not usable for TLS: an error of the key file, not of a peer.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The private key could not be used.
    #[error("the identity key cannot be used for TLS: {0}")]
    Key(#[source] rustls::Error),
    /// No TLS 1.3 QUIC suite in the provider: a build error.
    #[error("the TLS provider lacks a QUIC initial cipher suite: {0}")]
    Suite(#[from] quinn_proto::crypto::rustls::NoInitialCipherSuite),
}

/// Makes the TLS side of dials and of the listener from one identity.
#[derive(Clone)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

impl Tls {
    pub(crate) fn new(identity: &Identity) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.pkcs8.clone()));
        let signer = provider.key_provider.load_private_key(der).map_err(TlsError::Key)?;
        let spki = CertificateDer::from(spki_of(&identity.peer));
        Ok(Self {
            provider,
            key: Arc::new(CertifiedKey::new(vec![spki], signer)),
        })
    }

    /// For a dial: only a server that proves `expected` is spoken to.
    pub(crate) fn client(&self, expected: PeerId) -> Result<QuicClientConfig, TlsError> {
        let verifier = Arc::new(KeyVerifier {
            expected: Some(expected),
            algorithms: self.provider.signature_verification_algorithms,
        });
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Key)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(rustls::client::AlwaysResolvesClientRawPublicKeys::new(
                self.key.clone(),
            )));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the proof of the key; a handshake a path costs little.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(QuicClientConfig::try_from(config)?)
    }

    /// For the listener: any proven Ed25519 key is let in, no key is not.
    pub(crate) fn server(&self) -> Result<QuicServerConfig, TlsError> {
        let verifier = Arc::new(KeyVerifier {
            expected: None,
            algorithms: self.provider.signature_verification_algorithms,
        });
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Key)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(rustls::server::AlwaysResolvesServerRawPublicKeys::new(
                self.key.clone(),
            )));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        Ok(QuicServerConfig::try_from(config)?)
    }
}

/// AES-128-GCM first where the CPU has AES, as every x86-64 of the last decade does; ChaCha20-Poly1305 first elsewhere.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let preferred = if has_aes() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
    } else {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
    };
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != preferred);
    provider
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// The key a finished handshake has proven, from quinn-proto's view of the TLS session.
pub(crate) fn proven_peer(session: &dyn quinn_proto::crypto::Session) -> Option<PeerId> {
    let identity = session.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    peer_of_spki(identity.first()?)
}

fn spki_of(peer: &PeerId) -> Vec<u8> {
    [&SPKI_PREFIX[..], peer.as_bytes()].concat()
}

fn peer_of_spki(spki: &[u8]) -> Option<PeerId> {
    Some(PeerId::from_bytes(spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok()?))
}

/// Accepts a raw Ed25519 key: the expected one where one is expected, else any.
#[derive(Debug)]
struct KeyVerifier {
    expected: Option<PeerId>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl KeyVerifier {
    fn check(&self, spki: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let bad = |why: String| rustls::Error::General(why);
        let proven = peer_of_spki(spki).ok_or_else(|| bad("the peer's key is not a raw Ed25519 public key".to_owned()))?;
        match self.expected {
            Some(expected) if expected != proven => Err(bad(format!(
                "the peer there has key {}, not {} as the link says",
                proven.short(),
                expected.short()
            ))),
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(spki.as_ref()), dss, &self.algorithms)
    }
}

/// TLS 1.2 is not offered, so its signatures never come up.
fn no_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for KeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
