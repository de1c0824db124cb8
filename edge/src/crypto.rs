//! One crypto provider for the process: aws-lc-rs.

/// Make aws-lc-rs the default. Must run before anything touches TLS: Pingora installs ring
/// where it finds nothing.
pub fn install() {
    // An error means that a provider is there already; the test below says which.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use rustls::crypto::CryptoProvider;

    #[test]
    fn the_default_is_aws_lc_with_the_hybrid_group_first() {
        super::install();
        let provider = CryptoProvider::get_default().unwrap();
        let ours = rustls::crypto::aws_lc_rs::default_provider();
        let names = |provider: &CryptoProvider| {
            let groups = provider
                .kx_groups
                .iter()
                .map(|group| format!("{:?}", group.name()));
            groups.collect::<Vec<_>>()
        };
        assert_eq!(names(provider), names(&ours));
        // ring has no post-quantum group at all.
        assert_eq!(
            names(provider).first().map(String::as_str),
            Some("X25519MLKEM768")
        );
        let format = format!("{:?}", provider.signature_verification_algorithms);
        let ring = format!("{:?}", provider.secure_random);
        assert!(!format.contains("ring") && !ring.contains("Ring"), "{ring}");
    }
}
