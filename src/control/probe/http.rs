//! HTTP_GET and SSL_GET.

use std::net::SocketAddr;
use std::sync::Arc;

use buoy_healthcheck::checker::http::{
    HostHeader, HttpCheck, HttpTls, HttpVersion, Md5Digest, Page, Pages, RequestPath,
};
use buoy_healthcheck::{Sni, Target};

use super::{Probes, deadlines};
use crate::config::plan;

impl Probes {
    pub(super) fn http(&self, http: &plan::HttpCheck, target: Target) -> Result<HttpCheck, String> {
        let address = target.address;
        let pages = http.pages.iter().map(|page| self.page(page, address)).collect::<Result<Vec<_>, _>>()?;
        let version = match http.version {
            plan::HttpVersion::Http10 => HttpVersion::Http10,
            plan::HttpVersion::Http10Close => HttpVersion::Http10Close,
            plan::HttpVersion::Http11 => HttpVersion::Http11,
        };
        let tls = if http.tls { Some(self.https(http, version)?) } else { None };
        Ok(HttpCheck {
            target,
            deadlines: deadlines(&http.probe),
            tls,
            version,
            pages: Pages::new(pages).ok_or("a check without a page")?,
        })
    }

    fn https(&self, http: &plan::HttpCheck, version: HttpVersion) -> Result<HttpTls, String> {
        let told = http.pages.iter().any(|page| page.server_name.is_some());
        Ok(HttpTls {
            tls: self.tls.get(version)?.clone(),
            name: sni_name(&http.pages).cloned(),
            sni: if told { Sni::Tell } else { Sni::Hide },
        })
    }

    fn page(&self, page: &plan::Page, address: SocketAddr) -> Result<Page, String> {
        let host = match &page.virtualhost {
            Some(name) => name.parse::<HostHeader>().map_err(|error| error.to_string())?,
            None => HostHeader::from(address),
        };
        let path = request_path(&page.path)?;
        let pattern = page.regex.as_ref().map(|regex| self.patterns.get(regex)).transpose();
        let digest = page.digest.as_ref().map(|digest| digest.parse::<Md5Digest>()).transpose();
        Ok(Page {
            status: page.status_codes.iter().copied().collect(),
            digest: digest.map_err(|error| error.to_string())?,
            pattern: pattern.map_err(|unusable| unusable.to_string())?,
            tls_compliant: page.tls_compliant,
            ..Page::new(host, path)
        })
    }
}

/// The one name for all pages, if there is one: else each has that of its host.
fn sni_name(pages: &[plan::Page]) -> Option<&Arc<str>> {
    let names = pages.iter().filter(|page| page.server_name != page.virtualhost);
    names.filter_map(|page| page.server_name.as_ref()).next()
}

/// Blanks, which would end it, in their encoding.
fn request_path(path: &str) -> Result<RequestPath, String> {
    let fit = |c: char| match c {
        '\0'..=' ' | '\x7f' => format!("%{:02X}", u32::from(c)),
        _ => c.to_string(),
    };
    path.chars().map(fit).collect::<String>().parse().map_err(|_unfit| format!("{path:?} cannot be a path"))
}
