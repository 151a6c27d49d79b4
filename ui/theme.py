"""Colours, for light and dark; each pair of text and ground has a contrast of at least 4.5 : 1 (WCAG 2.2, AA).

Categories are told apart by shape or text as well. Series colours are those of Okabe and Ito, which colour-blind
readers can tell apart.
"""

from __future__ import annotations

from typing import Any

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

OPTIONS: dict[str, Any] = {
    "theme.chartCategoricalColors": list(SERIES),
    "theme.baseFontSize": 16,
    "theme.headingFontSizes": ["1.9rem", "1.4rem", "1.15rem"],
    "theme.paddingTop": "1.5rem",
    "theme.paddingBottom": "4rem",
    "theme.linkUnderline": True,
    "theme.light.primaryColor": "#0B5FA5",
    "theme.light.linkColor": "#0B5FA5",
    "theme.light.textColor": "#1F2328",
    "theme.light.backgroundColor": "#FFFFFF",
    "theme.light.secondaryBackgroundColor": "#F2F4F7",
    "theme.dark.primaryColor": "#2A78BC",
    "theme.dark.linkColor": "#79B8F5",
    "theme.dark.textColor": "#F0F3F6",
    "theme.dark.backgroundColor": "#0F141A",
    "theme.dark.secondaryBackgroundColor": "#1B222B",
}
