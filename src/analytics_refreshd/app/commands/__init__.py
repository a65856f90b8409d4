"""The one-shot commands: each builds its adapters, does one thing and closes them."""
