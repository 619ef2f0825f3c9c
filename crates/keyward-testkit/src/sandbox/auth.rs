//! Who calls: each cloud's front door. The words of a refusal follow the vendors', secrets that
//! they echo included.

use super::acs3;
use super::errors::Refused;
use super::settings::Settings;
use crate::signing::{self, Message, SignatureFault};
use http::header::AUTHORIZATION;
use keyward_core::clock::Timestamp;
use keyward_decision::catalog::operation::ErrorShape;

/// The name of the user whose credential the call carries.
pub(super) fn authenticate(
    settings: &Settings,
    shape: ErrorShape,
    message: &Message<'_>,
    now: Timestamp,
) -> Result<String, Refused> {
    match shape {
        ErrorShape::Codeup => personal_token(settings, header(message, "x-yunxiao-token")),
        ErrorShape::Acs => older_alibaba(settings, message, now),
        ErrorShape::Flat | ErrorShape::Ims | ErrorShape::Nova => huawei(settings, message, now),
    }
}

fn huawei(settings: &Settings, message: &Message<'_>, now: Timestamp) -> Result<String, Refused> {
    const WRONG: &str = "Incorrect IAM authentication information:";
    if !message.headers.contains_key(AUTHORIZATION) {
        let user = header(message, "x-auth-token").and_then(|token| settings.tokens.get(token));
        return user.cloned().ok_or_else(|| {
            Refused::at_front_door(401, "APIG.0301", format!("{WRONG} decrypt token fail"))
        });
    }
    let access = signing::verify(
        message,
        |id| settings.access_key(id).map(|(key, _)| key.secret.as_str()),
        now,
    );
    let user = access.map(|id| settings.access_key(id).map(|(_, user)| user.clone()));
    let why = match user {
        Ok(Some(user)) => return Ok(user),
        // The vendor's front door echoes what it verified, signed header values included.
        Err(SignatureFault::Mismatch { canonical }) => {
            format!("verify aksk signature fail, canonicalRequest:{}", canonical.replace('\n', "|"))
        }
        Err(fault) => fault.to_string(),
        Ok(None) => "access key not known".to_owned(),
    };
    Err(Refused::at_front_door(401, "APIGW.0301", format!("{WRONG} {why}")))
}

fn personal_token(settings: &Settings, token: Option<&str>) -> Result<String, Refused> {
    let token =
        token.ok_or_else(|| Refused::new(401, "Unauthorized", "x-yunxiao-token is missing"))?;
    settings
        .personal_tokens
        .get(token)
        .cloned()
        .ok_or_else(|| Refused::new(401, "InvalidTokenError", "the token is not valid"))
}

/// The signature says who sends, the token in the query for whom.
fn older_alibaba(
    settings: &Settings,
    message: &Message<'_>,
    now: Timestamp,
) -> Result<String, Refused> {
    let verified =
        acs3::verify(message, |id| settings.acs_key(id).map(|(key, _)| key.secret.as_str()), now);
    verified.map_err(|code| Refused::at_front_door(401, code, "the signature was not accepted"))?;
    let query = message.target.split_once('?').map_or("", |(_, query)| query);
    let token = query.split('&').find_map(|pair| pair.strip_prefix("accessToken="));
    personal_token(settings, token)
}

fn header<'a>(message: &Message<'a>, name: &str) -> Option<&'a str> {
    message.headers.get(name).and_then(|value| value.to_str().ok())
}
