"""What is known, as the protocol's values."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from lsprotocol import types as lsp
from pygls.uris import from_fs_path

from ..dsl import ast
from ..dsl.diagnostics import Diagnostic, Edit, Severity
from ..dsl.source import Source, Span
from .actions import Action
from .calls import Help
from .completion import Completion
from .document import CONFIG_ENDINGS, Document
from .outline import Entry
from .positions import Positions

TOOL = "splatdsl"
_SEVERITY = {Severity.ERROR: lsp.DiagnosticSeverity.Error, Severity.WARNING: lsp.DiagnosticSeverity.Warning}
_SYMBOLS = {
    "param": lsp.SymbolKind.Constant,
    "let": lsp.SymbolKind.Variable,
    "input": lsp.SymbolKind.Field,
    "memory": lsp.SymbolKind.Variable,
    "def": lsp.SymbolKind.Function,
    "extern": lsp.SymbolKind.Function,
    "use": lsp.SymbolKind.Module,
    "term": lsp.SymbolKind.Event,
}
_ITEMS = {
    "variable": lsp.CompletionItemKind.Variable,
    "constant": lsp.CompletionItemKind.Constant,
    "field": lsp.CompletionItemKind.Field,
    "function": lsp.CompletionItemKind.Function,
    "keyword": lsp.CompletionItemKind.Keyword,
    "value": lsp.CompletionItemKind.EnumMember,
    "argument": lsp.CompletionItemKind.Property,
}


def range_of(document: Document, span: Span) -> lsp.Range:
    """A span in an editor's lines and columns."""
    return lsp.Range(lsp.Position(*document.position(span.start)), lsp.Position(*document.position(span.end)))


def uri_of(document: Document) -> str:
    """The name by which an editor knows a file."""
    return document.uri or from_fs_path(document.path) or document.path


def text_edits(document: Document, edits: Sequence[Edit]) -> list[lsp.TextEdit]:
    """Edits of one file."""
    return [lsp.TextEdit(range_of(document, edit.span), edit.text) for edit in edits]


def workspace_edit(document: Document, edits: Sequence[Edit]) -> lsp.WorkspaceEdit:
    """Edits of one file, by its name."""
    return lsp.WorkspaceEdit(changes={document.uri: text_edits(document, edits)})


def markup(text: str) -> lsp.MarkupContent:
    """Documentation."""
    return lsp.MarkupContent(lsp.MarkupKind.Markdown, text)


# Findings


def finding(document: Document, d: Diagnostic) -> lsp.Diagnostic:
    """One finding. One in another file stands at the place that brings that file, and says where it is."""
    message, place = d.message, _place(document, d)
    if place is None:
        place = _use_of(document, d.source)
        message = f"{d.source.name}:{d.line}:{d.column}: {message}"
    lines = [message, *d.notes, *(f"help: {line}" for line in d.help)]
    related = [
        lsp.DiagnosticRelatedInformation(_location(document, label.source or d.source, label.span), label.text)
        for label in d.labels
    ]
    if d.caption:
        related.insert(0, lsp.DiagnosticRelatedInformation(lsp.Location(document.uri, place), d.caption))
    return lsp.Diagnostic(
        range=place,
        message="\n".join(lines),
        severity=_SEVERITY[d.severity],
        code=d.code,
        source=TOOL,
        related_information=related,
        data={"slug": d.slug},
    )


def _place(document: Document, d: Diagnostic) -> lsp.Range | None:
    """The range of a finding in this file; None if it is in another."""
    if d.source is document.source or d.source.text == document.source.text:
        return range_of(document, d.span or Span(0, 0))
    return None


def _use_of(document: Document, source: Source) -> lsp.Range:
    """The place that brings another file: a ``use``, or the key of a run config that names it; else the beginning."""
    if document.is_config:
        named = rf"\b(?:extends|from):.*{re.escape(os.path.basename(source.name))}.*"
        known = (named, "^extends:.*") if source.name.endswith(CONFIG_ENDINGS) else ("^loss:.*", "^extends:.*")
        keys = (re.search(pattern, document.source.text, re.MULTILINE) for pattern in known)
        return range_of(document, next((Span(*key.span()) for key in keys if key), Span(0, 0)))
    for statement in document.parsed[0].statements:
        if isinstance(statement, ast.Use):
            other = document.other(statement.path.value)
            if other is not None and other.source.text == source.text:
                return range_of(document, statement.path.span)
    return range_of(document, Span(0, 0))


def _location(document: Document, source: Source, span: Span) -> lsp.Location:
    if source is document.source or source.text == document.source.text:
        return lsp.Location(document.uri, range_of(document, span))
    positions = Positions(source.text, document.positions.encoding)
    start, end = (lsp.Position(*positions.position(offset)) for offset in (span.start, span.end))
    return lsp.Location(from_fs_path(source.name) or document.uri, lsp.Range(start, end))


# Lists


def completion_list(document: Document, found: Completion, snippets: bool) -> lsp.CompletionList:
    """Suggestions; snippets only where the editor knows them."""
    where = range_of(document, found.span)
    items = []
    for item in found.items:
        use = bool(item.snippet) and snippets
        items.append(
            lsp.CompletionItem(
                label=item.label,
                kind=_ITEMS[item.kind],
                detail=item.detail or None,
                documentation=markup(item.doc) if item.doc else None,
                sort_text=f"{item.rank}{item.label}",
                insert_text_format=lsp.InsertTextFormat.Snippet if use else lsp.InsertTextFormat.PlainText,
                text_edit=lsp.TextEdit(where, item.snippet if use else item.insert or item.label),
            )
        )
    return lsp.CompletionList(is_incomplete=False, items=items)


def signature(found: Help) -> lsp.SignatureHelp:
    """Signature help."""
    forms = []
    for form in found.forms:
        parameters = [
            lsp.ParameterInformation(label=span, documentation=doc or None) for span, doc in zip(form.spans, form.docs)
        ]
        forms.append(
            lsp.SignatureInformation(
                label=form.label,
                documentation=markup(found.doc) if found.doc else None,
                parameters=parameters,
                # past the end means that none is active
                active_parameter=len(parameters) if form.active is None else form.active,
            )
        )
    return lsp.SignatureHelp(
        signatures=forms, active_signature=found.active, active_parameter=forms[found.active].active_parameter
    )


def symbols(document: Document, entries: Sequence[Entry]) -> list[lsp.DocumentSymbol]:
    """The outline."""
    return [
        lsp.DocumentSymbol(
            name=entry.name,
            kind=_SYMBOLS[entry.kind],
            range=range_of(document, entry.span),
            selection_range=range_of(document, entry.name_span),
            detail=f"{entry.kind} {entry.detail}".strip(),
        )
        for entry in entries
    ]


def code_action(document: Document, action: Action) -> lsp.CodeAction:
    """A quick fix, with the finding that it removes."""
    about = [finding(document, action.finding)] if action.finding is not None else None
    return lsp.CodeAction(
        title=action.title,
        kind=lsp.CodeActionKind.QuickFix,
        diagnostics=about,
        is_preferred=action.preferred or None,
        edit=workspace_edit(document, action.edits),
    )
