"""frame checksums: which of two files that an interrupted writer left belongs to a row."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    op.add_column("references", sa.Column("frame_sha256", sa.String(length=64), nullable=True))
