"""What the routes of stored things share: the database and the settings."""

from typing import Annotated

from fastapi import Depends, Request

from services.image_classifier.settings import Settings
from shared.database import Database


def get_database(request: Request) -> Database:
    """Return the app's database."""
    database: Database = request.app.state.database
    return database


def get_settings(request: Request) -> Settings:
    """Return the app's settings."""
    settings: Settings = request.app.state.serving.settings
    return settings


Db = Annotated[Database, Depends(get_database)]
Config = Annotated[Settings, Depends(get_settings)]
