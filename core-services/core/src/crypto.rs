//! One provider of cryptography for the whole process: aws-lc-rs.
//! Invariant: it is the default before any TLS configuration is built, so a
//! dependency that also links ring can't choose.

/// Makes aws-lc-rs the process's default.
pub(crate) fn install_provider() {
    // Fails only if a default exists, which at the first line of `main` can't be.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use rustls::{NamedGroup, crypto::CryptoProvider};

    #[test]
    fn the_default_is_aws_lc_and_not_ring() {
        super::install_provider();
        let provider = CryptoProvider::get_default().unwrap();
        let name = format!("{:?}", provider.key_provider);
        assert!(
            name.contains("AwsLc") && !name.to_lowercase().contains("ring"),
            "{name}"
        );
        // Only aws-lc-rs has the hybrid post-quantum group.
        assert!(
            provider
                .kx_groups
                .iter()
                .any(|group| group.name() == NamedGroup::X25519MLKEM768)
        );
    }
}
