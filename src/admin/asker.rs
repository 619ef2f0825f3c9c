//! Who asks on the admin listener, as far as anybody can tell.

use axum::http::HeaderMap;
use keyward_record::event::By;
use std::net::SocketAddr;

/// A name that the caller gives itself.
const AUDITOR: &str = "x-keyward-auditor";
/// What the export is for, as the caller says.
pub(super) const PURPOSE: &str = "x-keyward-purpose";

/// Who asks. There is no login here, so the name is what the caller says.
pub(super) fn who(from: SocketAddr, headers: &HeaderMap) -> By {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(|text| text.chars().take(128).collect::<String>())
    };
    By {
        address: Some(from.ip().to_string()),
        name_claimed: text(AUDITOR),
        agent: text("user-agent"),
        purpose_claimed: text(PURPOSE),
        uid: None,
    }
}
