"""Telegram: updates become Inbound and Press, cards become HTML with an inline keyboard. No rule and no state is here."""
