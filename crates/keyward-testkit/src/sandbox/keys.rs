//! Key material that looks real and opens nothing: the public half does not belong to the private
//! one.

use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey};

/// A key pair in the forms in which the clouds show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Material {
    /// `ssh-ed25519 AAAA… comment`.
    pub public: String,
    /// A PEM block, `-----BEGIN OPENSSH PRIVATE KEY-----`.
    pub private: Option<String>,
    /// `SHA256:…`.
    pub fingerprint: String,
}

impl Material {
    /// A pair that the service makes. Its comment says that it is a sandbox's.
    pub fn made(name: &str) -> Self {
        let (mut other, mut private) = ([0; 32], [0; 32]);
        // Nothing depends on these bytes being unknown; without randomness they are zeros.
        let _ = getrandom::fill(&mut other).and_then(|()| getrandom::fill(&mut private));
        // An honest key, since others are refused when they come back.
        let public = ed25519_dalek::SigningKey::from_bytes(&other).verifying_key().to_bytes();
        let pair = Ed25519Keypair {
            public: Ed25519PublicKey(public),
            private: Ed25519PrivateKey::from_bytes(&private),
        };
        let key = PrivateKey::new(
            KeypairData::Ed25519(pair),
            format!("{name} keyward-sandbox opens-nothing"),
        );
        let text = |key: &PrivateKey| {
            Some((
                key.public_key().to_openssh().ok()?,
                key.to_openssh(LineEnding::LF).ok()?.to_string(),
            ))
        };
        let fingerprint = |key: &PrivateKey| key.fingerprint(HashAlg::Sha256).to_string();
        key.ok()
            .and_then(|key| {
                text(&key).map(|(public, private)| Self {
                    public,
                    private: Some(private),
                    fingerprint: fingerprint(&key),
                })
            })
            .unwrap_or_default()
    }

    /// A pair of which the caller gives the public half. `None` for what is no OpenSSH public key.
    pub fn imported(public: &str) -> Option<Self> {
        let key = PublicKey::from_openssh(public.trim()).ok()?;
        Some(Self {
            public: public.to_owned(),
            private: None,
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_pair_reads_as_a_real_one_and_says_what_it_is() {
        let made = Material::made("kp-a");
        let private = made.private.unwrap();
        assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
        assert_eq!(
            PrivateKey::from_openssh(&private).unwrap().comment(),
            "kp-a keyward-sandbox opens-nothing"
        );
        assert_eq!(Material::imported(&made.public).unwrap().fingerprint, made.fingerprint);
        assert!(made.fingerprint.starts_with("SHA256:"));
        assert_eq!(Material::imported("ssh-ed25519 nonsense"), None);
    }
}
