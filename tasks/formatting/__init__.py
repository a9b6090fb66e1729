"""From raw rows to rendered, masked and tokenised splits, with every row accounted for."""
