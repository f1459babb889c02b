//! Identities of the peers that are not ours: a raw Ed25519 public key (RFC 7250), made from a seed, and no opinion about anybody else's.

use std::net::SocketAddr;
use std::sync::Arc;

use ares_core::peer::PeerId;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, DigitallySignedStruct, DistinguishedName, SignatureScheme};

/// DER of a PKCS#8 v1 Ed25519 private key up to the 32-byte seed (RFC 8410 section 7).
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The name of our protocol in the handshake.
const ALPN: &[u8] = b"ares/1";

/// A key pair, and TLS 1.3 with it.
#[derive(Clone, Debug)]
pub struct Keys {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

impl Keys {
    /// The pair whose private key is `seed`.
    ///
    /// # Panics
    /// Where the cryptography is broken: any 32 bytes are a key.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // What `ares` itself prefers, so that a server has the same work with both.
        provider
            .cipher_suites
            .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let provider = Arc::new(provider);
        let der = PrivatePkcs8KeyDer::from([&PKCS8_PREFIX[..], &seed].concat());
        let signer = provider
            .key_provider
            .load_private_key(PrivateKeyDer::Pkcs8(der))
            .expect("a seed is a key");
        let spki = signer.public_key().expect("Ed25519 keys have a raw form");
        let chain = vec![CertificateDer::from(spki.to_vec())];
        Self {
            provider,
            key: Arc::new(CertifiedKey::new(chain, signer)),
        }
    }

    /// Its public half.
    ///
    /// # Panics
    /// As `from_seed`.
    pub fn peer(&self) -> PeerId {
        let spki: &[u8] = self.key.cert[0].as_ref();
        let key = spki
            .last_chunk::<32>()
            .expect("an Ed25519 SubjectPublicKeyInfo ends with the key");
        PeerId::from_bytes(*key)
    }

    /// A listener that proves it and lets in whoever proves another.
    ///
    /// # Panics
    /// Where the address is taken.
    pub fn endpoint(&self, address: SocketAddr) -> Endpoint {
        let tls = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3");
        let resolver = rustls::server::AlwaysResolvesServerRawPublicKeys::new(self.key.clone());
        let mut tls = tls
            .with_client_cert_verifier(self.trust())
            .with_cert_resolver(Arc::new(resolver));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("a QUIC cipher suite")));
        Endpoint::server(config, address).unwrap_or_else(|e| panic!("cannot listen on {address}: {e}"))
    }

    /// For dials that prove it and speak to whoever proves another.
    ///
    /// # Panics
    /// As `from_seed`.
    pub fn client(&self) -> ClientConfig {
        let tls = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3");
        let resolver = rustls::client::AlwaysResolvesClientRawPublicKeys::new(self.key.clone());
        let tls = tls.dangerous().with_custom_certificate_verifier(self.trust());
        let mut tls = tls.with_client_cert_resolver(Arc::new(resolver));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("a QUIC cipher suite")))
    }

    fn trust(&self) -> Arc<TrustAll> {
        Arc::new(TrustAll(self.provider.clone()))
    }
}

/// Believes every key that signs.
#[derive(Debug)]
struct TrustAll(Arc<CryptoProvider>);

impl TrustAll {
    fn signed(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, dss, &self.0.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, spki, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, spki, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for TrustAll {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, spki, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, spki, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
