//! Codeup in both editions, and the older API.

use super::super::settings::ORGANIZATION;
use super::*;

const CENTRAL: &str = "openapi-rdc.aliyuncs.com";
const REGION: &str = "codeup.example.com";
const OLDER: &str = "devops.cn-hangzhou.aliyuncs.com";
const ALICE: &str = "pt-sandboxReleaseDesk_0001";

fn wanted(scope: &str) -> Value {
    json!({"title": "build agent", "key": PUBLIC, "keyScope": scope, "expireTime": "2099-01-31T00:00:00Z"})
}

#[tokio::test]
async fn a_key_lives_in_both_editions() {
    let cloud = Cloud::start().await;
    for (host, base) in [
        (CENTRAL, format!("/oapi/v1/codeup/organizations/{ORGANIZATION}")),
        (REGION, "/oapi/v1/codeup".to_owned()),
    ] {
        let call = |method: &'static str, target: String, body: Value| {
            cloud.token(ALICE, host, method, target, body)
        };
        let before =
            call("GET", format!("{base}/keys"), empty()).await.json().as_array().unwrap().len();
        let made = call("POST", format!("{base}/keys"), wanted("READ")).await.json();
        assert_eq!(
            (made["keyScope"].as_str(), made["key"].as_str()),
            (Some("READ"), Some(PUBLIC)),
            "{host}"
        );
        assert_eq!(call("GET", format!("{base}/keys/{}", made["id"]), empty()).await.json(), made);
        let listed = call("GET", format!("{base}/keys?page=1&perPage=1"), empty()).await.json();
        assert_eq!(listed, json!([made]), "the newest comes first");
        assert_eq!(
            call("GET", format!("{base}/users/release-desk/keys"), empty())
                .await
                .json()
                .as_array()
                .unwrap()
                .len(),
            before + 1
        );
        let again = call("POST", format!("{base}/keys"), wanted("READ")).await;
        assert_eq!((again.status, again.json()["errorCode"].as_str()), (400, Some("BadRequest")));
        assert_eq!(
            call("DELETE", format!("{base}/keys/{}", made["id"]), empty()).await.json(),
            made
        );
        let gone = call("GET", format!("{base}/keys/{}", made["id"]), empty()).await;
        assert_eq!((gone.status, gone.json()["errorCode"].as_str()), (404, Some("NotFound")));
    }
}

#[tokio::test]
async fn codeup_refuses_in_its_own_words() {
    let cloud = Cloud::start().await;
    let target = format!("/oapi/v1/codeup/organizations/{ORGANIZATION}/keys");
    let forged = cloud.token("pt-forged", CENTRAL, "POST", target.clone(), wanted("ALL")).await;
    assert_eq!(
        (forged.status, forged.json()["errorCode"].as_str()),
        (401, Some("InvalidTokenError"))
    );
    let none = cloud.send(plain(CENTRAL, "POST", &target, &wanted("ALL"))).await.unwrap();
    assert_eq!((none.status, none.json()["errorCode"].as_str()), (401, Some("Unauthorized")));
    let elsewhere = cloud
        .token(
            ALICE,
            CENTRAL,
            "GET",
            "/oapi/v1/codeup/organizations/other/keys".to_owned(),
            empty(),
        )
        .await;
    assert_eq!(
        (elsewhere.status, elsewhere.json()["errorCode"].as_str()),
        (403, Some("Forbidden.InvalidUser.UserNotInCurrentOrganization"))
    );
    for body in [
        json!({"title": "t", "key": "nonsense", "keyScope": "READ"}),
        json!({"title": "t", "key": PUBLIC, "keyScope": "read"}),
        json!({"title": "t", "key": PUBLIC, "keyScope": "READ", "expireTime": "2001-01-01T00:00:00Z"}),
    ] {
        assert_eq!(cloud.token(ALICE, CENTRAL, "POST", target.clone(), body).await.status, 400);
    }
    let unsaid =
        cloud.token(ALICE, CENTRAL, "POST", target, json!({"title": "t", "key": PUBLIC})).await;
    assert_eq!(unsaid.json()["keyScope"], "ALL", "what is left out reads as the worst");
}

#[tokio::test]
async fn a_deploy_key_belongs_to_a_repository_named_with_an_encoded_slash() {
    let cloud = Cloud::start().await;
    let keys =
        format!("/oapi/v1/codeup/organizations/{ORGANIZATION}/repositories/60de7a%2FDemo/keys");
    let made = cloud
        .token(ALICE, CENTRAL, "POST", keys.clone(), json!({"title": "deploy", "key": PUBLIC}))
        .await
        .json();
    for verb in ["disable", "enable"] {
        let done = cloud
            .token(ALICE, CENTRAL, "POST", format!("{keys}/{}/{verb}", made["id"]), empty())
            .await;
        assert_eq!(done.json(), json!({"result": true}));
    }
    let other = format!("/oapi/v1/codeup/repositories/7/keys/{}/enable", made["id"]);
    assert_eq!(cloud.token(ALICE, REGION, "POST", other, empty()).await.status, 404);
}

#[tokio::test]
async fn the_older_api_is_another_door_in_an_envelope() {
    let cloud = Cloud::start().await;
    let query = format!("accessToken={ALICE}&organizationId={ORGANIZATION}");
    let body = json!({"title": "build agent", "publicKey": PUBLIC, "keyScope": "READ"});
    let made = cloud
        .older("POST", &format!("/api/v3/user/keys/create?{query}"), body.clone())
        .await
        .json();
    assert_eq!(
        (made["success"].as_bool(), made["result"]["publicKey"].as_str()),
        (Some(true), Some(PUBLIC))
    );
    let id = &made["result"]["id"];
    let other_door = format!("/oapi/v1/codeup/organizations/{ORGANIZATION}/keys/{id}");
    assert_eq!(cloud.token(ALICE, CENTRAL, "GET", other_door, empty()).await.json()["id"], *id);
    let again = cloud.older("POST", &format!("/api/v3/user/keys/create?{query}"), body).await;
    assert_eq!(
        (again.status, again.json()["success"].as_bool()),
        (200, Some(false)),
        "a failure with status 200"
    );
    assert_eq!(
        cloud.older("GET", &format!("/api/v3/user/keys?{query}"), empty()).await.json()["result"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        cloud.older("DELETE", &format!("/api/v3/user/keys/{id}?{query}"), empty()).await.json()["success"],
        true
    );
    let deploy = cloud
        .older(
            "POST",
            &format!("/repository/60de7a%2FDemo/keys/create?{query}"),
            json!({"title": "d", "key": PUBLIC}),
        )
        .await
        .json();
    let enable =
        format!("/repository/60de7a%2FDemo/keys/{}/enable?{query}", deploy["result"]["id"]);
    assert_eq!(cloud.older("POST", &enable, empty()).await.json()["result"]["result"], true);
    let unsigned = cloud
        .send(plain(OLDER, "GET", &format!("/api/v3/user/keys?{query}"), &empty()))
        .await
        .unwrap();
    assert_eq!(
        (unsigned.status, unsigned.json()["Code"].as_str()),
        (401, Some("MissingAuthorization"))
    );
    let mut forged = plain(OLDER, "GET", &format!("/api/v3/user/keys?{query}"), &empty());
    acs3::sign(
        &AccessKey { id: "LTAIDEMORELEASE".to_owned(), secret: "wrong".to_owned() },
        OLDER,
        &mut forged,
        Timestamp::now(),
    )
    .unwrap();
    assert_eq!(cloud.send(forged).await.unwrap().json()["Code"], "SignatureDoesNotMatch");
    let no_token = cloud
        .older("GET", &format!("/api/v3/user/keys?organizationId={ORGANIZATION}"), empty())
        .await;
    assert_eq!((no_token.status, no_token.json()["success"].as_bool()), (401, Some(false)));
}

impl Cloud {
    async fn token(
        &self,
        token: &str,
        host: &str,
        method: &str,
        target: String,
        body: Value,
    ) -> Got {
        self.with("x-yunxiao-token", token, host, method, &target, body).await
    }

    async fn older(&self, method: &str, target: &str, body: Value) -> Got {
        let mut request = plain(OLDER, method, target, &body);
        acs_sign(OLDER, &mut request);
        self.send(request).await.unwrap()
    }
}
