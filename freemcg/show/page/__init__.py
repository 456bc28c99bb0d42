"""The page: results as HTML that opens in any browser, without a network and without a server."""
