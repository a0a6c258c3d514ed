//! A certificate that nobody has signed but itself.

use std::path::Path;

/// Writes `cert.pem` and `key.pem` for this machine into the folder, and returns the lines
/// of a configuration beside them that serves with them.
pub fn configured(folder: &Path) -> &'static str {
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), certificate.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
    "[server.tls]\ncert = 'cert.pem'\nkey = 'key.pem'\n"
}
