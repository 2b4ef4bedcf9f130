"""Evidence files on their way in and out: never too large, never shown in place."""

import re

from django.http import HttpResponse
from django.utils.http import content_disposition_header

from authorization.models import AcceptanceFile
from storefront.models import AgreementFile

TYPES = "PDF, PNG, JPEG, plain text, CSV"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def clean_name(name: str) -> str:
    """The last part of a path, as browsers and people send it, without control characters."""
    return _CONTROL.sub("", name.replace("\\", "/").rpartition("/")[2]).strip()


def download(file: AcceptanceFile | AgreementFile) -> HttpResponse:
    """The file as a download. PDFs and pictures are active content: no browser may show one under our name."""
    name = _CONTROL.sub("_", file.name) or "file"
    disposition = content_disposition_header(as_attachment=True, filename=name)
    return HttpResponse(
        bytes(file.content),
        content_type=file.content_type,
        headers={
            "Content-Disposition": disposition or "attachment",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": "private, no-store",
            "ETag": f'"{file.sha256}"',
        },
    )
