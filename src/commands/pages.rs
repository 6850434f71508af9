//! Lists that the service gives in pages.

use serde_json::Value;

use super::model::Page;
use crate::client::{Client, ClientError, segment};

/// The largest page that the service gives.
pub(super) const PAGE: usize = 500;

/// Every item of a list, in its order. `path` has a query already.
pub(super) async fn fetch_all(client: &mut Client, path: &str) -> Result<Vec<Value>, ClientError> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let from = after.as_deref().map_or_else(String::new, |next| format!("&after={}", segment(next)));
        let page: Page = client.get(&format!("{path}{from}")).await?;
        let empty = page.items.is_empty();
        all.extend(page.items);
        match page.next {
            // A cursor that leads nowhere would be followed for ever.
            Some(next) if !empty && after.as_ref() != Some(&next) => after = Some(next),
            _ => return Ok(all),
        }
    }
}
