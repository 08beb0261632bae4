"""versions of references, removals and the access log: what a live library needs."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    with op.batch_alter_table("libraries") as batch_op:
        batch_op.add_column(sa.Column("uid", sa.String(length=32), nullable=False, server_default=""))
    libraries = sa.table("libraries", sa.column("id", sa.Integer), sa.column("uid", sa.String))
    connection = op.get_bind()
    for (key,) in connection.execute(sa.select(libraries.c.id)).all():
        connection.execute(libraries.update().where(libraries.c.id == key).values(uid=uuid.uuid4().hex))
    with op.batch_alter_table("references") as batch_op:
        batch_op.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
        batch_op.create_index("references_by_version", ["library_id", "version"], unique=False)
    op.create_table(
        "removals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("library_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reference_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["library_id"], ["libraries.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("removals_by_version", "removals", ["library_id", "version"], unique=False)
    op.create_table(
        "access_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("library", sa.String(length=64), nullable=True),
        sa.Column("objects", sa.JSON(), nullable=False),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("access_log_by_time", "access_log", ["at"], unique=False)
